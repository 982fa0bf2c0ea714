/**
 * Distillation by logits with a teacher that reads every row once: its k most likely tokens of every position are kept in a file,
 * and later passes over the rows read them there.
 *
 *     loss = Σ_positions ( Σ_{v in top} p(v) (ln p(v) − ln q(v)) + r (ln r − ln s) ),   r = 1 − Σ_top p,   s = 1 − Σ_top q
 *
 * with p of the teacher and q of the student: the divergence after merging all other tokens into one. It is at most the divergence of
 * logits.ts (log sum inequality: Cover and Thomas, Elements of Information Theory, theorem 2.7.1). The term of the rest keeps
 * the probabilities of the top unbiased, which without it are learned too large (Anshumann et al., arXiv 2503.16870, section 3).
 */
import { makeFolder } from '../../files/atomic.ts';
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { packedInputs } from '../../data/datasets/packed-rows.ts';
import type { PackedDataset } from '../../data/datasets/packing.ts';
import { LinnetError } from '../../errors.ts';
import { fileError } from '../../files/regular-file.ts';
import { Graph, type Value } from '../../graph/graph.ts';
import { sum } from '../../graph/ops/contraction.ts';
import { add, cast, exp, maximum, mul, neg, sub } from '../../graph/ops/elementwise.ts';
import { gatherElements, scatterAdd, topK } from '../../graph/ops/indexing.ts';
import { concat, reshape, split } from '../../graph/ops/layout.ts';
import { softmax } from '../../graph/ops/normalization.ts';
import { dataOf, int32, type Weights } from '../../graph/tensor.ts';
import { parallelHidden } from '../../models/graphs/parallel-graph.ts';
import type { CausalModel } from '../../models/model.ts';
import { InputParameters } from '../../nn/parameters.ts';
import { compile, type CompileOptions } from '../../runtime/compile.ts';
import { onlyInputs, type Program } from '../../runtime/program.ts';
import { runsLean } from '../step-cost.ts';
import type { KeptFeature } from '../updates.ts';
import { logarithm, teacherSource } from './distillation.ts';
import { type Objective, overPositions, sumOverPositions } from './next-token.ts';
import { remove } from '../../files/remove.ts';

/** Default number of tokens cached per position. */
export const usualTop = 64;
const taughtInput = 'taught';
const fileName = 'teacher-logits.bin';
/** A token and −ln p in steps of 2⁻¹⁹ nats, three bytes each. */
const pairBytes = 6;
const scoreSteps = 2 ** 19;
const largestScore = 2 ** 24 - 1;
const hashBytes = 32;

/** The objective over rows as `PackedDataset` has them, with `openCachedLogits` of k tokens. */
export function cachedLogitsObjective(student: CausalModel, length: number, k: number): Objective {
  const { labels: _, ...read } = packedInputs(length);
  return {
    inputs: { ...read, [taughtInput]: { dtype: 'float32', shape: [length, 2 * k] } },
    loss(source, { inputs, weights, [taughtInput]: taught }) {
      const rows = Number(inputs.shape[0]) * length;
      const { width, vocabulary } = student.sizes;
      const hidden = reshape(parallelHidden(student, source, inputs), [rows, width]);
      const flat = [hidden, reshape(taught, [rows, 2 * k]), reshape(weights, [rows])];
      return sumOverPositions(flat, vocabulary, ([features, target, weight]) =>
        sum(mul(topDivergence(target, student.head(source, features)), weight)),
      );
    },
  };
}

/** The divergence of a position. @param taught [positions,2k], tokens and their ln p. @param own logits [positions,V]. @returns [positions] */
export function topDivergence(taught: Value, logits: Value): Value {
  const k = Number(taught.shape[1]) / 2;
  const [ids, scores] = split(taught, 1, [k, k]);
  const tokens = cast(ids, 'int32');
  const probabilities = softmax(logits);
  const likely = gatherElements(probabilities, tokens, 1);
  const known = exp(scores);
  const ofTop = sum(mul(known, sub(scores, logarithm(likely))), [-1]);
  if (k === logits.shape[1]) return ofTop;
  const rest = maximum(sub(1, sum(known, [-1])), 0);
  // Sums the others, since 1 − Σ_top has few correct digits if the top is nearly all.
  const others = sum(scatterAdd(probabilities, tokens, neg(likely), 1), [-1]);
  return add(ofTop, mul(rest, sub(logarithm(rest), logarithm(others))));
}

/** Teacher, rows and place of cached logits. */
export interface CachedLogitsOptions {
  readonly teacher: CausalModel;
  readonly student: CausalModel;
  /** See `logitsObjective`. */
  readonly trained: ReadonlySet<string>;
  /** Result of `transferParameters`. */
  readonly parameters: Weights;
  /** Identity of the teacher, such as its fingerprint. */
  readonly origin: string;
  readonly dataset: PackedDataset;
  /** Tokens of a position, at most the vocabulary. */
  readonly k: number;
  readonly folder: string;
  readonly compile?: CompileOptions;
}

/** Bytes of the file of all rows. */
export function cachedLogitsBytes({ rows, length }: Pick<PackedDataset, 'rows' | 'length'>, k: number): number {
  return rows * (pairBytes * k * length + hashBytes);
}

/**
 * Predictions of the teacher, as the feature `taught` of a row: the k most likely tokens [n,k], then their ln p. A row is asked for
 * once; its record in the file has a SHA-256 of teacher, text and numbers, so that a killed process leaves no wrong one, and
 * a later one asks for the missing rows. Dispose of it.
 * @throws LinnetError `PATH` if the file cannot be opened
 */
export async function openCachedLogits(options: CachedLogitsOptions): Promise<KeptFeature> {
  const { dataset, k, origin, parameters, folder } = options;
  await makeFolder(folder);
  const path = join(folder, fileName);
  const file = await open(path, constants.O_RDWR | constants.O_CREAT).catch((error: unknown) => {
    throw fileError('open', path, error);
  });
  const identity = JSON.stringify(['teacher logits 1', origin, dataset.fingerprint(), k]);
  const hashOf = (row: number, pairs: Buffer): Buffer =>
    createHash('sha256').update(`${identity} ${row}`).update(pairs).digest();
  let program: Program | undefined;
  const ask = async (row: number): Promise<Float32Array> => {
    program ??= await compileTeacher(options);
    const tokens = int32([1, dataset.length], dataset.row(row).inputs);
    const feeds = { ...onlyInputs(program, Object.fromEntries(parameters)), tokens };
    const taught = dataOf((await program.run(feeds, [taughtInput]))[taughtInput], 'float32');
    if (taught.every(Number.isFinite)) return taught;
    throw new LinnetError('RUNTIME', `the teacher's predictions of row ${row} are not finite; check its weights`);
  };
  return {
    name: taughtInput,
    shape: [dataset.length, 2 * k],
    async copyRow(row, target) {
      const size = pairBytes * k * dataset.length;
      const record = Buffer.alloc(size + hashBytes);
      const [pairs, hash] = [record.subarray(0, size), record.subarray(size)];
      await file.read(record, 0, record.length, row * record.length);
      if (!hashOf(row, pairs).equals(hash)) {
        encode(await ask(row), pairs, k);
        hash.set(hashOf(row, pairs));
        await file.write(record, 0, record.length, row * record.length);
      }
      decode(pairs, target, k);
    },
    remove: () => remove(path),
    async [Symbol.asyncDispose]() {
      await file.close();
      await program?.dispose();
    },
  };
}

/** Most likely tokens of a row and their ln p, [n,2k]. */
async function compileTeacher(options: CachedLogitsOptions): Promise<Program> {
  const { teacher, student, trained, k, dataset } = options;
  const graph = new Graph('teacher');
  const source = teacherSource(new InputParameters(graph), student, trained);
  const hidden = parallelHidden(teacher, source, graph.input('tokens', 'int32', [1, dataset.length]));
  const { width, vocabulary } = teacher.sizes;
  const blocks = overPositions([reshape(hidden, [dataset.length, width])], vocabulary, ([features]) => {
    const { values, indices } = topK(softmax(teacher.head(source, features)), k);
    return concat([cast(indices, 'float32'), logarithm(values)], 1);
  });
  graph.output(taughtInput, concat(blocks, 0));
  const lean = runsLean(teacher.parameters, options.compile?.device);
  return await compile(graph, { ...options.compile, lean });
}

/** Visits the pairs of a record: where the token is among a row's numbers, ln p being k places on, and where in the record. */
function eachPair(pairs: Buffer, k: number, visit: (token: number, place: number) => void): void {
  for (let pair = 0; pair < pairs.length / pairBytes; pair++) {
    visit(2 * k * Math.floor(pair / k) + (pair % k), pairBytes * pair);
  }
}

function encode(taught: Float32Array, pairs: Buffer, k: number): void {
  eachPair(pairs, k, (token, place) => {
    const score = Math.min(largestScore, Math.round(-taught[token + k] * scoreSteps));
    pairs.writeUIntLE(taught[token], place, 3);
    pairs.writeUIntLE(Math.max(0, score), place + 3, 3);
  });
}

function decode(pairs: Buffer, taught: Float32Array, k: number): void {
  eachPair(pairs, k, (token, place) => {
    taught[token] = pairs.readUIntLE(place, 3);
    taught[token + k] = -pairs.readUIntLE(place + 3, 3) / scoreSteps;
  });
}
