/** Bodies of requests, with or without their length, read up to a limit. */
import { ApiError, refuse } from './api-error.ts';

/** @throws ApiError for a body of more bytes than `most` */
export async function readBody(request: Request, most: number): Promise<Buffer> {
  const refuse = (): never => {
    throw new ApiError('payload_too_large_error', `a body may have ${most} bytes here`);
  };
  const { headers } = request;
  if (Number(headers.get('content-length') ?? 0) > most) refuse();
  // Node holds a request to the length that it names.
  if (headers.has('content-length')) return Buffer.from(await request.arrayBuffer());
  const stream: AsyncIterable<Uint8Array> | null = request.body;
  if (stream === null) return Buffer.alloc(0);
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of stream) {
    size += piece.length;
    if (size > most) refuse();
    pieces.push(piece);
  }
  return Buffer.concat(pieces, size);
}

/**
 * Parsed JSON. A page of another site cannot send this content type without being asked first.
 * @param whenEmpty value of an empty body; undefined refuses one
 * @throws ApiError
 */
export async function jsonBody(request: Request, most: number, whenEmpty?: object): Promise<unknown> {
  const bytes = await readBody(request, most);
  if (bytes.length === 0 && whenEmpty !== undefined) return whenEmpty;
  if (!/^application\/json\b/i.test(request.headers.get('content-type') ?? '')) {
    throw new ApiError('unsupported_media_type_error', 'the body must be JSON, with "content-type: application/json"');
  }
  try {
    const body: unknown = JSON.parse(bytes.toString('utf8'));
    return body;
  } catch {
    return refuse('the body is not valid JSON');
  }
}
