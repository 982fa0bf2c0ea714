/** What a reader of files is to the fuzzer, and how its answers are judged. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ErrorCode, LinnetError } from '../../src/errors.ts';
import { Random } from '../../src/random.ts';
import { type ContentKind, mutated } from './mutations.ts';

/** One reader with whole examples of what it reads. */
export interface FuzzReader {
  readonly name: string;
  readonly kind: ContentKind;
  readonly samples: readonly Buffer[];
  /** Reads, and throws for what it refuses. */
  read(bytes: Buffer): unknown;
  /** Tells of the result of an accepted input whether it is one that was written, in what the reader promises to check. */
  isOriginal?(result: unknown): boolean;
  /** What an input costs, in units of about 50 µs, so that runs can be shared out. */
  readonly cost: number;
}

/** Codes that tell of a bad file; the others tell of bugs. */
const refusals: ReadonlySet<ErrorCode> = new Set([
  ...(['FORMAT', 'CONFIG', 'TENSOR', 'PATH', 'NOT_FOUND', 'MISMATCH', 'INPUT'] as const),
]);

/** Longest message that is still about something. */
const longestMessage = 4200;

/** Counts of a run over one reader. */
export interface FuzzCounts {
  readonly inputs: number;
  readonly accepted: number;
  readonly refused: number;
  /** What went wrong, with what repeats it. */
  readonly failures: readonly string[];
  /** Time of the slowest input [ms]. */
  readonly longest: number;
}

/** The input of a number: seed and number repeat it. */
function fuzzInput(reader: FuzzReader, seed: number, number: number): Buffer {
  const random = new Random(Math.imul(seed, 0x9e3779b1) ^ number);
  return mutated(reader.samples, reader.kind, random);
}

/** The answer to an input. */
export interface Judgement {
  readonly accepted: boolean;
  /** What is wrong with the answer; undefined if nothing is. */
  readonly failure?: string;
  /** The message of a refusal. */
  readonly refusal?: string;
}

/** Gives a reader an input. */
export async function judgeInput(reader: FuzzReader, input: Buffer): Promise<Judgement> {
  try {
    const result = await reader.read(input);
    if (reader.isOriginal?.(result) === false) return { accepted: true, failure: 'accepted with other content' };
    return { accepted: true };
  } catch (error) {
    if (!(error instanceof LinnetError)) return { accepted: false, failure: `not a typed error: ${String(error)}` };
    if (!refusals.has(error.code)) return { accepted: false, failure: `${error.code}: ${error.message}` };
    if (error.message.length > longestMessage) {
      return { accepted: false, failure: `a message of ${error.message.length} characters` };
    }
    return { accepted: false, refusal: error.message };
  }
}

/** Which inputs a reader is given. */
export interface FuzzRun {
  readonly seed: number;
  readonly count: number;
  /** Number of the first input. Default 0. */
  readonly first?: number;
  /** No input is begun after this moment, by `performance.now()`, but the first is. Default: never over. */
  readonly until?: number;
  readonly onInput?: (number: number) => void;
}

/** Gives a reader `count` inputs from number `first` on, as long as there is time. Stops after ten failures. */
export async function fuzz(
  reader: FuzzReader,
  { seed, count, first = 0, until = Infinity, onInput }: FuzzRun,
): Promise<FuzzCounts> {
  let accepted = 0;
  const failures: string[] = [];
  let inputs = 0;
  let longest = 0;
  for (let number = first; number < first + count && failures.length < 10; number++) {
    if (inputs > 0 && performance.now() >= until) break;
    onInput?.(number);
    inputs++;
    const input = fuzzInput(reader, seed, number);
    const started = performance.now();
    const judged = await judgeInput(reader, input);
    longest = Math.max(longest, performance.now() - started);
    if (judged.accepted) accepted++;
    if (judged.failure !== undefined) {
      failures.push(`${reader.name}, seed ${seed}, input ${number}: ${judged.failure.slice(0, 500)}`);
    }
  }
  return { inputs, accepted, refused: inputs - accepted - failures.length, failures, longest };
}

/** Writes the bytes to a file, over what was there, and returns its path: most readers read files. */
export function asFile(folder: string, name: string): (bytes: Buffer) => string {
  const path = join(folder, name);
  return (bytes) => {
    writeFileSync(path, bytes);
    return path;
  };
}
