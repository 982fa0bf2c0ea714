/** Reads answers of untrusted servers: errors, and bodies of bounded size. Also runs in browsers. */
import { LinnetError, reasonOf } from '../errors.ts';

/** How files are asked for. */
export interface Asking {
  /** Stops the reading. */
  readonly signal?: AbortSignal;
  /** Default: the global `fetch`. */
  readonly fetch?: typeof fetch;
}

/**
 * The result of reading the answer to a request.
 * @param name the file's name, for errors
 * @throws LinnetError `NOT_FOUND` without an answer or on refusal, `ABORTED`, and as `read`
 */
export async function fetchAnswer<T>(
  url: URL,
  name: string,
  { signal, fetch: connect = fetch }: Asking,
  read: (response: Response) => Promise<T>,
  headers?: Readonly<Record<string, string>>,
): Promise<T> {
  let response: Response | undefined;
  try {
    response = await connect(url, { signal, headers });
    if (!response.ok) throw new LinnetError('NOT_FOUND', `${name}: the server answered ${response.status}`);
    return await read(response);
  } catch (error) {
    await response?.body?.cancel().catch(() => undefined); // a body that was read from has ended already
    if (error instanceof LinnetError) throw error;
    if (signal?.aborted === true) throw new LinnetError('ABORTED', `stopped while fetching ${name}`, { cause: error });
    throw new LinnetError('NOT_FOUND', `cannot fetch ${name}: ${reasonOf(error)}`, { cause: error });
  }
}

/**
 * Reads a body into `bytes`, and returns how many there are.
 * @throws LinnetError `FORMAT` for more than there is room for
 */
export async function readBody(
  response: Response,
  name: string,
  bytes: Uint8Array,
  onChunk?: (length: number) => void,
): Promise<number> {
  let position = 0;
  // Leaving the loop by an error cancels the stream, and with it the download.
  for await (const chunk of chunksOf(response)) {
    if (position + chunk.byteLength > bytes.byteLength) {
      throw new LinnetError('FORMAT', `${name} has more than ${bytes.byteLength} bytes`);
    }
    bytes.set(chunk, position);
    position += chunk.byteLength;
    onChunk?.(chunk.byteLength);
  }
  return position;
}

/** A body chunk by chunk. Not every browser can iterate over streams, so they are read by hand. */
async function* chunksOf(response: Response): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = response.body?.getReader();
  if (reader === undefined) return;
  try {
    for (;;) {
      const part: { done: boolean; value?: Uint8Array } = await reader.read();
      if (part.value !== undefined) yield part.value;
      if (part.done) return;
    }
  } finally {
    // After the last chunk there is nothing to cancel, and the reason of an error is not hidden by a second one.
    await reader.cancel().catch(() => undefined);
  }
}
