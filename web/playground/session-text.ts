/**
 * Session files of the playground: the tokens of a text and the sampler's random numbers, as JSON. The state is computed
 * anew from the tokens when a file is opened, since it is the same, and a file that holds no state can hold no wrong one.
 */
import { z } from 'zod';
import { LinnetError } from '../../src/web.ts';

const word = z.int().min(0).max(0xffffffff);

const fileSchema = z.strictObject({
  format: z.literal('linnet-playground-session'),
  version: z.literal(1),
  /** Of the model: tokens mean nothing to another one. */
  fingerprint: z.string().max(200),
  tokens: z
    .array(z.int().min(0).max(0x7fffffff))
    .min(1)
    .max(1 << 20),
  // From four zeros the generator would give nothing but zeros.
  random: z
    .tuple([word, word, word, word])
    .refine((words) => words.some((value) => value !== 0))
    .optional(),
});

export interface SessionText {
  readonly tokens: readonly number[];
  readonly random?: readonly [number, number, number, number];
}

export function writeSessionText({ tokens, random }: SessionText, fingerprint: string): string {
  const { format, version } = fileSchema.shape;
  return `${JSON.stringify({ format: format.value, version: version.value, fingerprint, tokens, random })}\n`;
}

/**
 * Reads a file, whoever wrote it.
 * @param vocabulary V; tokens are below it
 * @throws LinnetError `FORMAT` for what is not such a file, `MISMATCH` for the session of another model
 */
export function readSessionText(file: string, fingerprint: string, vocabulary: number): SessionText {
  let json: unknown;
  try {
    json = JSON.parse(file);
  } catch (cause) {
    throw new LinnetError('FORMAT', 'the file is not a session of the playground: it is not JSON', { cause });
  }
  const read = fileSchema.safeParse(json);
  if (!read.success) {
    const [{ path, message }] = read.error.issues;
    throw new LinnetError('FORMAT', `the file is not a session of the playground: ${path.join('.')} ${message}`);
  }
  const { tokens, random } = read.data;
  if (read.data.fingerprint !== fingerprint) {
    throw new LinnetError('MISMATCH', 'the session is of another model; open that one first');
  }
  const strange = tokens.find((token) => token >= vocabulary);
  if (strange === undefined) return { tokens, random };
  throw new LinnetError('FORMAT', `token ${strange} of the session is outside the vocabulary of ${vocabulary}`);
}
