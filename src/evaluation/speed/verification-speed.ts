/** Time of verifying token trees by size on this machine, from which a candidate tree is chosen. */
import { TokenTree } from '../../attention/tree.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import type { EncodedText } from '../../decoding/state/sequence-state.ts';
import type { StepTime } from '../../decoding/speculation/tree-search.ts';
import type { MedusaHeads } from '../../models/medusa/medusa-heads.ts';
import type { Watched } from '../../errors.ts';
import { Random } from '../../random.ts';
import { fillState } from './decoding-speed.ts';
import { median, time, timeInTurns } from './timing.ts';

export interface VerificationSpeedOptions extends Watched {
  /** Sizes to measure, roots included. */
  readonly nodes: readonly number[];
  /** Tokens committed before. */
  readonly context: number;
  /** Deepest node of the random trees. */
  readonly depth: number;
  /** The text that is read before, in encoder-decoder models. */
  readonly encoded?: EncodedText;
  /** Turns of each size. Default 9. */
  readonly rounds?: number;
}

/** Sizes worth measuring up to a largest one: all small ones, then about six per octave. */
export function measuredSizes(most: number): number[] {
  const sizes = new Set([1, 2, 3, 4, 5, 6, 7, 8]);
  for (let size = 8; size < most; size *= 2 ** (1 / 4)) sizes.add(Math.round(size));
  sizes.add(most);
  return [...sizes].filter((size) => size <= most).sort((a, b) => a - b);
}

/** Steps of a size in each round, of which the first is not timed. */
const stepsPerTurn = 3;

/** Positions that a measurement reads beyond its context: a root per step, and the depth of the last tree. */
export function verificationPositions({
  nodes,
  depth,
  rounds = 9,
}: Pick<VerificationSpeedOptions, 'nodes' | 'depth' | 'rounds'>): number {
  return nodes.length * rounds * stepsPerTurn + depth;
}

/**
 * Median time of a step of each size with all nodes wanted, and of taking the root into the state. Times never fall with
 * size: where noise says so, neighbours share their mean, or the choice of a tree would be one of lucky sizes.
 */
export async function verificationSpeed(engine: StepEngine, options: VerificationSpeedOptions): Promise<StepTime[]> {
  const { nodes, context, depth, encoded, rounds = 9, ...others } = options;
  const random = new Random(4);
  const state = engine.newState(encoded);
  fillState(state, context, random);
  const cases = nodes.map((size) => () => {
    const tokens = random.integers(size, engine.model.sizes.vocabulary);
    const tree = randomTree(size, depth, random);
    const request = { state, tree, tokens, wanted: Array.from(tokens, (_, node) => node) };
    return async () => {
      const [output] = await engine.step([request]);
      await engine.commit(request, output, [0]);
    };
  });
  const samples = await timeInTurns(cases, { ...others, rounds, runs: stepsPerTurn - 1, untimed: 1 });
  const medians = nonDecreasing(samples.map(median));
  return nodes.map((size, index) => ({ nodes: size, ms: medians[index] }));
}

/** Median milliseconds in which Medusa heads guess `ranks` tokens each, at most the vocabulary. */
export async function draftTime(
  heads: Pick<MedusaHeads, 'topK'>,
  { width, vocabulary }: { readonly width: number; readonly vocabulary: number },
  ranks: number,
  rounds: number,
): Promise<number> {
  const hidden = Float32Array.from({ length: width }, (_, i) => Math.sin(i));
  const timing = await time(() => heads.topK(hidden, Math.min(ranks, vocabulary)), { runs: 2 * rounds + 1 });
  return timing.medianMs;
}

/** The non-decreasing sequence closest to the values in the least-squares sense (pool adjacent violators). */
export function nonDecreasing(values: readonly number[]): number[] {
  const pools: { total: number; count: number }[] = [];
  for (const value of values) {
    let pool = { total: value, count: 1 };
    for (
      let last = pools.at(-1);
      last !== undefined && last.total / last.count > pool.total / pool.count;
      last = pools.at(-1)
    ) {
      pool = { total: last.total + pool.total, count: last.count + pool.count };
      pools.pop();
    }
    pools.push(pool);
  }
  return pools.flatMap(({ total, count }) => new Array<number>(count).fill(total / count));
}

/** A tree of one root whose other nodes have random parents less than `depth` deep. */
export function randomTree(size: number, depth: number, random: Random): TokenTree {
  const parents = [-1];
  const depths = [0];
  const shallow = [0];
  while (parents.length < size) {
    const parent = shallow[random.integer(shallow.length)];
    parents.push(parent);
    depths.push(depths[parent] + 1);
    if (depths[parent] + 1 < depth) shallow.push(parents.length - 1);
  }
  return new TokenTree(parents);
}
