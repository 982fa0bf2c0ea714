/**
 * The session format: a text's state, its tokens and the sampler's random state in one safetensors file.
 *
 * | tensor | type | content |
 * |---|---|---|
 * | `tokens` | I32 [n] | the text; the state has read the first `length` of them |
 * | `positions.ℓ` | I32 [C] | position in each slot of layout ℓ, −1 for empty |
 * | `keys.i`, `values.i` | F32 [M,C,D], [M,C,E] | layer i's rows; C is its layout's ring, or `length` for a growing cache |
 * | `sums.i` | F32 [M,D,E] | layer i's S, if it has a global branch |
 * | `previous.i` | F32 [1,1,X] | features that layer i gives the next token, in models that shift features |
 * | `memory.keys.i`, `memory.values.i` | F32 [M,S,D], [M,S,E] | rows left by layer i's closed groups, if it has any |
 * | `source` | I32 [m] | the encoded text, in models that read one |
 * | `cross.i.NAME` | F32 | layer i's memory of it, see `CrossForm` |
 * | `learned.successors` | I32 [n,9] | tokens, ascending, each with its likeliest successors; −1 for none |
 * | `learned.chances` | F32 [15,2] | drafters' guesses that came true, and all guesses, by kind |
 *
 * Only files of version 2 have the last two: texts that were drafted for.
 *
 * The header's strings name the format and its version, the model (fingerprint and mixers), the length, and a SHA-256 of
 * everything, which detects damaged files. It is not a signature: files are checked as if anyone had written them. Also
 * runs in browsers; `session-file.ts` handles Node's files.
 */
import { z } from 'zod';
import { parseSafetensors, type SafetensorsDirectory } from '../../checkpoint/safetensors/directory.ts';
import type { TensorEntry } from '../../checkpoint/safetensors/encoding.ts';
import type { TensorData } from '../../checkpoint/safetensors/stored-dtypes.ts';
import { LinnetError } from '../../errors.ts';
import { schemaProblems } from '../../files/schema-problems.ts';
import {
  type AnyTensor,
  dataOf,
  discriminated,
  type DTypeArrays,
  elementCount,
  float32,
  int32,
  type Tensor,
  tensorBytes,
} from '../../graph/tensor.ts';
import type { AutoregressiveModel } from '../../models/model.ts';
import type { RandomState } from '../../random.ts';
import type { SavedLearning } from '../speculation/drafters/registry.ts';
import type { StepEngine } from '../step-engine.ts';
import { copyMatrices, exchanged, resizedMatrices } from './matrices.ts';
import { SequenceState } from './sequence-state.ts';
import { emptySource, sessionTensors, type SessionTensor } from './session-tensors.ts';
import { whole } from '../../files/schema-values.ts';

/** The format's name in the header. */
export const sessionFormat = 'linnet-session';
/** Without and with what drafters learned. */
const formatVersions = ['1', '2'] as const;
const fileTypes = { int32: 'I32', float32: 'F32' } as const;

/** Contents to save in a session file. */
export interface Snapshot {
  readonly state: SequenceState;
  /** The text. The state has read a beginning of it, usually all but the last token. */
  readonly tokens: ArrayLike<number> & Iterable<number>;
  /** State of the random numbers that the text continues with. */
  readonly random?: RandomState;
  /** What drafters learned, so that a restored text is drafted for as before. */
  readonly learned?: SavedLearning;
}

/**
 * The parts of a session's bytes. Tensors may share the state's memory.
 * @param hash hashes all of it
 * @throws LinnetError `INPUT` if the tokens are not the state's text
 */
export function sessionParts(
  { state, tokens, random, learned, fingerprint }: Snapshot & { readonly fingerprint: string },
  hash: ContentHash,
) {
  const { model, layout, length, encoded } = state;
  if (tokens.length < length) {
    throw new LinnetError('INPUT', `the state has read ${length} tokens, but only ${tokens.length} are given to save`);
  }
  const strange = strangeToken(tokens, model);
  if (strange !== undefined) throw new LinnetError('INPUT', `the session cannot be saved: ${strange}`);

  const version = formatVersions[learned === undefined ? 0 : 1];
  const described = { version, fingerprint, mixers: JSON.stringify(model.mixers), length: String(length) };
  beginHash(hash, described, random);
  const entries: (TensorEntry & { readonly data: TensorData })[] = [];
  const add = (name: string, stored: Tensor<'int32' | 'float32'>): void => {
    addTensor(hash, name, stored);
    entries.push({ name, dtype: fileTypes[stored.dtype], shape: stored.shape, data: stored.data });
  };
  add('tokens', int32([tokens.length], tokens));
  state.keepSums();
  for (const tensor of sessionTensors(model, layout, length, encoded?.tokens.length ?? 0)) {
    const { name, shape, of, expected, parts = 1 } = tensor;
    const numbers = expected ?? of(state);
    if (numbers instanceof Int32Array) add(name, int32(shape, numbers));
    else {
      const rows = resizedMatrices(numbers, shape[0] * parts, elementCount(shape));
      add(name, { dtype: 'float32', shape, data: exchanged(rows, shape[0], parts, shape[1]) });
    }
  }
  if (learned !== undefined) {
    const [successors, chances] = learnedTensors(learned.successors.length);
    add(successors.name, int32(successors.shape, learned.successors));
    add(chances.name, float32(chances.shape, learned.chances));
  }
  const sampled = random !== undefined && { sampler: JSON.stringify(random) };
  /** The header's strings. */
  const strings = (sha256: string) => ({ format: sessionFormat, ...described, ...sampled, sha256 });
  return { entries, strings };
}

/**
 * Reads a session from bytes, with the checks of a file.
 * @param hash an empty one
 * @param source names them in errors
 * @throws LinnetError `MISMATCH` or `FORMAT` like `restoreSession`
 */
export async function decodeSessionWith(
  hash: ContentHash,
  bytes: Uint8Array,
  engine: Pick<StepEngine, 'model' | 'layout'>,
  fingerprint: string,
  source = 'the session',
): Promise<Snapshot> {
  const file = parseSafetensors(bytes, source);
  // In place: the session's parts are copied into it.
  const read = (name: string): AnyTensor => discriminated(file.view(name));
  const { metadata } = file;
  const session = { source, metadata, read, names: () => file.names(), info: (name: string) => file.info(name) };
  return readSession(session, engine, fingerprint, hash);
}

/** A file on disk or in memory. */
export interface SessionSource extends SafetensorsDirectory {
  /** May be a view of the caller's memory. */
  read(name: string): AnyTensor | Promise<AnyTensor>;
}

/**
 * Reads a session. Checks types, shapes and sizes before reading any tensor, and the numbers before returning the state.
 * @param hash an empty one
 * @throws LinnetError `MISMATCH` if the session belongs to another model; `FORMAT` if it is malformed or damaged
 */
export async function readSession(
  file: SessionSource,
  { model, layout }: Pick<StepEngine, 'model' | 'layout'>,
  fingerprint: string,
  hash: ContentHash,
): Promise<Snapshot> {
  const { source } = file;
  const header = checkHeader(file, model, fingerprint);
  const length = Number(header.length);
  listLength(file, 'tokens', length); // before any allocation in proportion to the length
  const sourceLength = model.cross === undefined ? 0 : listLength(file, 'source', 1);
  const stored = sessionTensors(model, layout, length, sourceLength);
  const learnedParts = header.version === '1' ? [] : learnedTensors(storedCount(file, 'learned.successors'));
  checkTensors(file, [...stored, ...learnedParts]);

  beginHash(hash, header, header.sampler);
  const read = async <D extends 'int32' | 'float32'>(name: string, dtype: D): Promise<DTypeArrays[D]> => {
    const value = await file.read(name);
    addTensor(hash, name, value);
    return dataOf(value, dtype);
  };
  const tokens = (await read('tokens', 'int32')).slice();
  const strange = strangeToken(tokens, model);
  if (strange !== undefined) throw malformed(source, strange);
  const state = new SequenceState(model, layout, emptySource(model, sourceLength));
  state.reserve(length);
  state.makeGroupRows(length);
  for (const { name, dtype, shape, of, expected, parts = 1 } of stored) {
    const data = await read(name, dtype);
    if (expected?.some((position, slot) => position !== data[slot]) === true) {
      throw malformed(source, `"${name}" are not the positions that a text of ${length} tokens leaves behind`);
    }
    const largest = name.startsWith('sums.') ? largestSum : largestRow;
    if (!computable(data, largest))
      throw malformed(source, `"${name}" holds values other than numbers up to ${largest}`);
    if (data instanceof Int32Array) copyMatrices(data, of(state), 1);
    else copyMatrices(exchanged(data, shape[0], shape[1], parts), of(state), shape[0] * parts);
  }
  const foreign = strangeToken(state.encoded?.tokens ?? [], model);
  if (foreign !== undefined) throw malformed(source, foreign);
  state.length = length;
  let learned: SavedLearning | undefined;
  if (learnedParts.length > 0) {
    const [successors, chances] = learnedParts;
    learned = {
      successors: (await read(successors.name, successors.dtype)).slice(),
      chances: (await read(chances.name, chances.dtype)).slice(),
    };
    const problem = learningProblem(learned, model.sizes.vocabulary);
    if (problem !== undefined) throw malformed(source, `it has ${problem}`);
  }
  if ((await hash.digest('hex')) !== header.sha256)
    throw malformed(source, 'its SHA-256 does not match its content: it is damaged');
  return { state, tokens, random: header.sampler, learned };
}

const word = whole(0, 0xffffffff);

const headerSchema = z.strictObject({
  format: z.literal(sessionFormat),
  version: z.enum(formatVersions),
  fingerprint: z.string(),
  mixers: z.string(),
  length: z.string().regex(/^(0|[1-9]\d{0,9})$/),
  // From four zeros the generator would return only zeros.
  sampler: z
    .tuple([word, word, word, word])
    .refine((words) => words.some((value) => value !== 0))
    .optional(),
  sha256: z.string(),
});

type SessionHeader = z.infer<typeof headerSchema>;

/** The header's strings, once they prove to be of this format, version and model. */
function checkHeader(
  { source, metadata }: SafetensorsDirectory,
  model: AutoregressiveModel,
  fingerprint: string,
): SessionHeader {
  const format = metadata.get('format');
  if (format !== sessionFormat) {
    throw malformed(
      source,
      format === undefined ? 'the header names no format' : `its format is "${format.slice(0, 64)}"`,
    );
  }
  const version = metadata.get('version');
  if (!formatVersions.some((known) => known === version)) {
    const read = formatVersions.join(' and ');
    throw malformed(source, `its version is "${String(version).slice(0, 64)}", this program reads ${read}`);
  }
  const result = headerSchema.safeParse({
    ...Object.fromEntries(metadata),
    sampler: parseWords(metadata.get('sampler'), source),
  });
  if (!result.success) throw malformed(source, schemaProblems(result.error), result.error);
  const header = result.data;
  if (header.fingerprint !== fingerprint) {
    throw new LinnetError(
      'MISMATCH',
      `${source} is the session of another model: its fingerprint is ${header.fingerprint.slice(0, 64)}, the model's ${fingerprint}; ` +
        'it belongs to one model in one storage type: open that one, or read the text again',
    );
  }
  if (header.mixers !== JSON.stringify(model.mixers)) {
    throw new LinnetError(
      'MISMATCH',
      `${source} is the session of a model with other mixers: ${header.mixers.slice(0, 200)}`,
    );
  }
  return header;
}

function parseWords(json: string | undefined, source: string): unknown {
  if (json === undefined) return undefined;
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw malformed(source, 'the state of the sampler is not JSON', cause);
  }
}

/** A state's rows are multiplied with each other and with sums; float32 ends at 2^128. */
const [largestRow, largestSum] = [2 ** 40, 2 ** 60];

/** Whether a step can compute with values. A loop: an iterator or a callback takes ten times as long. */
function computable(values: Float32Array | Int32Array, largest: number): boolean {
  let i = values.length;
  while (i-- > 0) if (!(Math.abs(values[i]) <= largest)) return false;
  return true;
}

/** The number of tokens of the text, or of the source that an encoder read. @param least that number in a usable file */
function listLength(file: SafetensorsDirectory, name: 'tokens' | 'source', least: number): number {
  if (!file.names().includes(name)) throw malformed(file.source, `it holds no "${name}"`);
  const { dtype, shape } = file.info(name);
  if (dtype === 'I32' && shape.length === 1 && shape[0] >= least) return shape[0];
  const found = describeInfo({ dtype, shape });
  throw malformed(file.source, `"${name}" must be I32, ${least} or more of them; it is ${found}`);
}

/** Before anything is read, compares names, types and shapes with the tensors that the state needs besides the tokens. */
function checkTensors(
  file: SafetensorsDirectory,
  expected: readonly Pick<SessionTensor, 'name' | 'dtype' | 'shape'>[],
): void {
  const names = new Set(file.names());
  const missing = expected.find(({ name }) => !names.has(name));
  if (missing !== undefined || names.size > expected.length + 1) {
    const problem =
      missing === undefined
        ? `there are ${names.size}`
        : `"${missing.name}" is missing; if another version of Linnet wrote it, read the text again`;
    throw malformed(file.source, `the model's sessions have ${expected.length + 1} tensors: ${problem}`);
  }
  for (const { name, dtype, shape } of expected) {
    const [stored, wanted] = [describeInfo(file.info(name)), describeInfo({ dtype: fileTypes[dtype], shape })];
    if (stored !== wanted) throw malformed(file.source, `"${name}" is ${stored}, expected ${wanted}`);
  }
}

function describeInfo({ dtype, shape }: { readonly dtype: string; readonly shape: readonly number[] }): string {
  return `${dtype} [${shape.join(',')}]`;
}

/** An error message for the first token outside the vocabulary; undefined if there is none. */
function strangeToken(tokens: ArrayLike<number>, { sizes }: AutoregressiveModel): string | undefined {
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i];
    if (!(Number.isInteger(token) && token >= 0 && token < sizes.vocabulary)) {
      return `token ${token} at place ${i} is outside the vocabulary of ${sizes.vocabulary}`;
    }
  }
  return undefined;
}

/** The number of elements in a tensor of variable length; 0 without it. */
function storedCount(file: SafetensorsDirectory, name: string): number {
  return file.names().includes(name) ? elementCount(file.info(name).shape) : 0;
}

/** A SHA-256 computed piece by piece; Node's `createHash` is one. */
export interface ContentHash {
  update(content: string | Uint8Array): unknown;
  digest(encoding: 'hex'): string | Promise<string>;
}

/** A session's hash covers one of the header's strings, then each tensor's name, shape and bytes. */
function beginHash(
  hash: ContentHash,
  { version, fingerprint, mixers, length }: Omit<SessionHeader, 'format' | 'sha256' | 'sampler'>,
  sampler: RandomState | undefined,
): void {
  hash.update(JSON.stringify([sessionFormat, version, fingerprint, mixers, length, sampler ?? null]));
}

function addTensor(hash: ContentHash, name: string, value: Tensor): void {
  hash.update(JSON.stringify([name, value.shape]));
  hash.update(tensorBytes(value));
}

function malformed(source: string, problem: string, cause?: unknown): LinnetError {
  return new LinnetError('FORMAT', `${source} is not a usable session: ${problem}`, { cause });
}

/** A token and its successors. */
const rowLength = 9;

/** The part's tensors, with `values` successor numbers. */
function learnedTensors(values: number) {
  return [
    { name: 'learned.successors', dtype: 'int32', shape: [Math.floor(values / rowLength), rowLength] },
    { name: 'learned.chances', dtype: 'float32', shape: [15, 2] },
  ] as const;
}

/** An error message for such numbers; undefined if they are valid. @param vocabulary V */
function learningProblem({ successors, chances }: SavedLearning, vocabulary: number): string | undefined {
  for (let at = 0; at < successors.length; at++) {
    const least = at % rowLength === 0 ? (successors[at - rowLength] ?? -1) + 1 : -1;
    const token = successors[at];
    if (token < least || token >= vocabulary) return `a successor table that has ${token} at place ${at}`;
  }
  for (let at = 0; at < chances.length; at += 2) {
    const [hits, tries] = chances.subarray(at, at + 2);
    if (!(hits >= 0 && hits <= tries && tries > 0 && tries <= 256))
      return `chances that count ${hits} of ${tries} guesses`;
  }
  return undefined;
}
