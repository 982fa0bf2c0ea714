/** Bodies of requests: read up to a limit, judged by their beginning, and held within one budget for all that are under way. */
import { ApiError } from './api-error.ts';

/** Bodies of as many bytes need no budget. */
const small = 64 << 10;

/** Bytes of all bodies under way. */
export class BodyBudget {
  readonly #most: number;
  #taken = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** @throws ApiError where other bodies have taken the bytes */
  take(bytes: number): void {
    if (this.#taken + bytes > this.#most) {
      throw new ApiError('unavailable_error', 'too many large requests are on their way; try again', { retryAfter: 1 });
    }
    this.#taken += bytes;
  }

  give(bytes: number): void {
    this.#taken -= bytes;
  }
}

export interface BodyBounds {
  /** Most bytes. */
  readonly most: number;
  readonly bodies: BodyBudget;
  /** Judges the beginning of a body: whether it has seen enough. It throws for a body that is not wanted. */
  readonly judge?: (beginning: Buffer) => boolean;
}

/**
 * Reads a body and uses it, while its bytes are counted.
 * @throws ApiError for a body of too many bytes, or where too many bodies are under way; the errors of `judge` and `use`
 */
export async function withBody<T>(
  request: Request,
  { most, bodies, judge }: BodyBounds,
  use: (bytes: Buffer) => T | Promise<T>,
): Promise<T> {
  const tooLarge = new ApiError('payload_too_large_error', `a body may have ${most} bytes here`);
  const named = request.headers.get('content-length');
  if (Number(named ?? 0) > most) throw tooLarge;
  // Node holds a request to the length that it names.
  if (named !== null && Number(named) <= small) return use(Buffer.from(await request.arrayBuffer()));
  // A stream that is left is not cancelled, which would end the connection before the refusal is on its way.
  const stream: AsyncIterable<Uint8Array> | undefined = request.body?.values({ preventCancel: true });
  const pieces: Uint8Array[] = [];
  let size = 0;
  let judged = judge === undefined;
  try {
    for await (const piece of stream ?? []) {
      if (size + piece.length > most) throw tooLarge;
      bodies.take(piece.length);
      size += piece.length;
      pieces.push(piece);
      if (!judged) judged = judge?.(Buffer.concat(pieces, size)) ?? true;
    }
    return await use(Buffer.concat(pieces.splice(0), size));
  } finally {
    bodies.give(size);
  }
}
