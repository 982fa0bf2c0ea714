/** How the fields of a body are checked. */
import { z } from 'zod';
import { refuse } from './api-error.ts';

/** A field that may be left out, or null, as clients send it. */
export function maybe<T extends z.ZodType>(schema: T) {
  return schema.nullish().transform((value) => value ?? undefined);
}

export const tokenId = z.int().min(0).max(0xffffff);

/** @throws ApiError for a token outside the vocabulary */
export function checkToken(token: number, vocabulary: number, param: string): void {
  if (token >= vocabulary) refuse(`token ${token} is outside the vocabulary of ${vocabulary}`, param);
}

/** Fields that would change the answer and that are not understood: when a value means that they are used. */
export type Refusals = Readonly<Record<string, (value: unknown) => boolean>>;

/** Whether a field is there. */
export const given = (value: unknown): boolean => value !== undefined && value !== null;
/** Whether a field is there and not empty. */
export const some = (value: unknown): boolean =>
  given(value) && !(Array.isArray(value) && value.length === 0) && value !== '';

/**
 * Checks a body. Fields that nobody knows are ignored, as clients send many; those known to change the answer are not.
 * @throws ApiError naming the first field that is wrong
 */
export function checkBody<S extends z.ZodType>(schema: S, body: unknown, refusals: Refusals = {}): z.output<S> {
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
