/** Times the verification of token trees by size on this machine. */
import { TokenTree } from '../../attention/tree.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import type { MedusaHeads } from '../../models/medusa/medusa-heads.ts';
import type { Watched } from '../../errors.ts';
import { Random } from '../../random.ts';
import { fillState, finishComparing } from './decoding-speed.ts';
import { median, time, timeInTurns } from './timing.ts';

interface VerificationSpeedOptions extends Watched {
  /** Sizes to measure, roots included. */
  readonly nodes: readonly number[];
  /** Tokens committed before the tree. */
  readonly context: number;
  /** Deepest node of the random trees. */
  readonly depth: number;
  /** Turns per size. Default 9. */
  readonly rounds?: number;
}

/** Steps per size in each round, the first untimed. */
const stepsPerTurn = 3;

/** Positions that a measurement reads beyond its context: a root per step, and the last tree's depth. */
export function verificationPositions({
  nodes,
  depth,
  rounds = 9,
}: Pick<VerificationSpeedOptions, 'nodes' | 'depth' | 'rounds'>): number {
  return nodes.length * rounds * stepsPerTurn + depth;
}

/** Median time of a step of each size with all nodes wanted, and of committing the root. */
export async function verificationSpeed(engine: StepEngine, options: VerificationSpeedOptions) {
  const { nodes, context, depth, rounds = 9, ...others } = options;
  const random = new Random(4);
  const state = engine.newState();
  fillState(state, context, random);
  await finishComparing(engine);
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
  return nodes.map((size, index) => ({ nodes: size, ms: median(samples[index]) }));
}

/** Median milliseconds for Medusa heads to guess `ranks` tokens each, at most the vocabulary. */
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

/** A tree with one root whose other nodes have random parents less than `depth` deep. */
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
