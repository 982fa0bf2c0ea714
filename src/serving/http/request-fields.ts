/** Requests: reads bodies within bounds and a shared budget, and checks their fields. */
import { z } from 'zod';
import { LinnetError } from '../../errors.ts';
import { GrowingBytes } from '../../files/bounded-body.ts';
import { checkJsonLimits } from '../../files/json-object.ts';
import { ApiError } from './api-error.ts';
import { whole } from '../../files/schema-values.ts';

/** Levels of a body: a schema has 48, and lies in others. */
const deepestBody = 96;

/** Refuses a request. @param param the wrong field */
export function refuse(message: string, param?: string): never {
  throw new ApiError('invalid_request_error', message, { param });
}

/** Makes something of a field. @throws ApiError naming the field, for one that it cannot be made of */
export function madeOf<T>(field: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof LinnetError) || error.code === 'INTERNAL') throw error;
    return refuse(error.message.replace(/`\w+`/, `"${field}"`), field);
  }
}

/** A field that may be left out, or null, as clients send it. */
export function maybe<T extends z.ZodType>(schema: T) {
  return schema.nullish().transform((value) => value ?? undefined);
}

export const optionalFlag = maybe(z.boolean());
export const optionalText = maybe(z.string());

/** The id of a call, or the name of its function. */
export const callText = z.string().max(256);

/** A model's name in a request. */
export const modelName = maybe(z.string().max(512));

export const tokenId = whole(0, 0xffffff);

/** @throws ApiError for a token outside the vocabulary */
export function checkInVocabulary(tokens: Iterable<number>, vocabulary: number, param: string): void {
  for (const token of tokens) {
    if (token >= vocabulary) refuse(`token ${token} is outside the vocabulary of ${vocabulary}`, param);
  }
}

/** Unsupported fields that would change the answer, with a test whether a value uses them. */
export type Refusals = Readonly<Record<string, (value: unknown) => boolean>>;

/** Whether a field is there. */
export const isPresent = (value: unknown): boolean => value !== undefined && value !== null;
/** Whether a field is there and not empty. */
export const some = (value: unknown): boolean =>
  isPresent(value) && !(Array.isArray(value) && value.length === 0) && value !== '';

/**
 * Checks a body. Ignores unknown fields, as clients send many; refuses unsupported fields known to change the answer.
 * @throws ApiError naming the first wrong field
 */
export function checkBody(schema: z.ZodType, body: unknown, refusals: Refusals = {}): unknown {
  if (typeof body === 'object' && body !== null) {
    for (const [field, value] of Object.entries(body)) {
      if (!Object.hasOwn(refusals, field) || !refusals[field](value)) continue;
      refuse(`"${field}" is not supported here; leave it out`, field);
    }
  }
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const param = issue.path.map(String).join('.');
  const where = param === '' ? 'the request' : `"${param.slice(0, 200)}"`;
  return refuse(`${where} is wrong: ${issue.message.slice(0, 500)}`, param === '' ? undefined : param.slice(0, 200));
}

/** Bodies of as many bytes need no budget. */
const small = 64 << 10;

/** Bytes of all bodies under way. */
export class BodyBudget {
  readonly #most: number;
  #taken = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** @throws ApiError if other bodies have taken the bytes */
  take(bytes: number): void {
    if (this.#taken + bytes > this.#most) {
      throw new ApiError('unavailable_error', 'too many large requests at once; try again', { retryAfter: 1 });
    }
    this.#taken += bytes;
  }

  give(bytes: number): void {
    this.#taken -= bytes;
  }
}

interface BodyBounds {
  /** Most bytes. */
  readonly most: number;
  readonly bodies: BodyBudget;
  /** Checks the beginning of a body: returns whether it has seen enough, throws to refuse the body. */
  readonly judge?: (beginning: Buffer) => boolean;
}

/**
 * Reads a body and uses it, while its bytes are counted.
 * @throws ApiError for a body of too many bytes, or if too many bodies are under way; the errors of `judge` and `use`
 */
export async function withBody<T>(
  request: Request,
  { most, bodies, judge }: BodyBounds,
  use: (bytes: Buffer) => T | Promise<T>,
): Promise<T> {
  const tooLarge = (): ApiError =>
    new ApiError('payload_too_large_error', `the body is too large; expected at most ${most} bytes`);
  const named = request.headers.get('content-length');
  if (Number(named ?? 0) > most) throw tooLarge();
  // Node holds a request to the length that it names.
  if (named !== null && Number(named) <= small) return use(Buffer.from(await request.arrayBuffer()));
  // Does not cancel the rest of the stream, which would close the connection before the refusal is sent.
  const stream: AsyncIterable<Uint8Array> | undefined = request.body?.values({ preventCancel: true });
  const body = new GrowingBytes();
  let judged = judge === undefined;
  try {
    for await (const piece of stream ?? []) {
      if (body.bytes.length + piece.length > most) throw tooLarge();
      bodies.take(piece.length);
      body.add(piece);
      judged ||= judge?.(body.bytes) === true;
    }
    return await use(body.bytes);
  } finally {
    bodies.give(body.bytes.length);
  }
}

/**
 * Parsed JSON. A page of another site cannot send this content type without being asked first.
 * @param optional whether a body may be empty, and is {} then. Default: it is refused
 * @throws ApiError
 */
export function jsonBody(request: Request, most: number, bodies: BodyBudget, optional = false): Promise<unknown> {
  return withBody(request, { most, bodies }, (bytes): unknown => {
    if (bytes.length === 0 && optional) return {};
    if (!/^application\/json\b/i.test(request.headers.get('content-type') ?? '')) {
      throw new ApiError(
        'unsupported_media_type_error',
        'the body must be JSON, with "content-type: application/json"',
      );
    }
    try {
      checkJsonLimits(bytes, 'the body', { depth: deepestBody });
      return JSON.parse(bytes.toString('utf8'));
    } catch (error) {
      return refuse(error instanceof LinnetError ? error.message : 'the body is not valid JSON');
    }
  });
}
