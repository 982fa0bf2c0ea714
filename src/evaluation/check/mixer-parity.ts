/**
 * The three forms of a mixer against each other: the parallel graph and the decoding engine (steps of one token, chunks
 * and trees, with commit and folding in between) against the float64 loops of the reference, on random rows.
 */
import { float32Error } from '../../attention/mixer-facts.ts';
import type { MixerConfig } from '../../attention/mixer.ts';
import { isCausal, mixReference } from '../../attention/mixers.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import { Graph } from '../../graph/graph.ts';
import { dataOf, type Tensor, tensor } from '../../graph/tensor.ts';
import { type CausalModel, valueWidth } from '../../models/model.ts';
import { parallelHidden } from '../../models/graphs/parallel-graph.ts';
import { WeightParameters } from '../../nn/parameters.ts';
import { Random } from '../../random.ts';
import { compile, type CompileOptions } from '../../runtime/compile.ts';
import { committedLengths, comparedLengths } from './checked-lengths.ts';
import { type CheckRow, checkTests, comparedRow, Discrepancy, inapplicableRow, limits } from './rows.ts';
import { mixerProbe, hiddenOfReference, referenceInput, type ProbeSizes, randomProbe } from './mixer-probe.ts';
import { randomPortions, randomForest, readPortions, readTree } from '../perplexity/step-reading.ts';

export interface ParityOptions {
  /** Longest sequence. */
  readonly maximumLength: number;
  readonly seed: number;
  readonly compile?: CompileOptions;
}

const treeNodes = 12;
const longestChunk = 13;

/** A mixer under test, with its random rows and parameters. */
interface Subject {
  readonly probe: CausalModel;
  readonly parameters: Map<string, Tensor<'float32'>>;
  readonly lengths: readonly number[];
  readonly options: ParityOptions;
}

/**
 * Compares all forms of a mixer.
 * @param name how the rows call it
 */
export async function mixerParity(
  name: string,
  mixer: MixerConfig,
  sizes: Omit<ProbeSizes, 'vocabulary'>,
  options: ParityOptions,
): Promise<CheckRow[]> {
  const lengths = comparedLengths(mixer, options.maximumLength);
  const longest = lengths[lengths.length - 1];
  const probe = mixerProbe(mixer, { ...fewerHeads(sizes), vocabulary: longest + treeNodes });
  const subject: Subject = { probe, parameters: randomProbe(probe, new Random(options.seed)), lengths, options };
  const about = { subject: name, limit: Math.max(limits.mixer, float32Error(mixer)), length: longest };
  const rows = [comparedRow({ ...about, test: checkTests.parallel }, await parallelAgainstReference(subject))];
  if (!isCausal(mixer)) {
    const note = 'it reads the future: it cannot decode';
    for (const test of [checkTests.stepByStep, checkTests.stepInChunks, checkTests.tree]) {
      rows.push(inapplicableRow({ ...about, test }, note));
    }
    return rows;
  }
  const engine = await DecodingEngine.create(probe, subject.parameters, options.compile);
  try {
    const portions = randomPortions(longest, longestChunk, new Random(options.seed));
    const single = new Array<number>(longest).fill(1);
    rows.push(
      comparedRow({ ...about, test: checkTests.stepByStep }, await stepsAgainstReference(subject, engine, single)),
      comparedRow({ ...about, test: checkTests.stepInChunks }, await stepsAgainstReference(subject, engine, portions)),
      comparedRow({ ...about, test: checkTests.tree }, await treesAgainstReference(subject, engine)),
    );
  } finally {
    await engine.dispose();
  }
  return rows;
}

/** The loops of the reference take their time, and heads do not differ: two key-value heads show all there is. */
export function fewerHeads(sizes: Omit<ProbeSizes, 'vocabulary'>): Omit<ProbeSizes, 'vocabulary'> {
  const keyValueHeads = Math.min(2, sizes.keyValueHeads);
  return { ...sizes, keyValueHeads, heads: (sizes.heads / sizes.keyValueHeads) * keyValueHeads };
}

/** Tokens 0, 1, 2, …: every position has rows of its own. */
function positions(length: number): Int32Array {
  return Int32Array.from({ length }, (_, i) => i);
}

async function parallelAgainstReference({ probe, parameters, lengths, options }: Subject): Promise<Discrepancy> {
  const { heads } = probe.sizes;
  const E = valueWidth(probe.sizes);
  const found = new Discrepancy();
  for (const n of lengths) {
    const graph = new Graph(`mixer over ${n}`);
    const tokens = graph.input('tokens', 'int32', [1, n]);
    graph.output('hidden', parallelHidden(probe, new WeightParameters(graph, parameters), tokens));
    const program = await compile(graph, options.compile);
    const { hidden } = await program.run({ tokens: tensor('int32', [1, n], positions(n)) }, ['hidden']);
    await program.dispose();
    const expected = mixReference(probe.mixers[0], referenceInput(probe, parameters, positions(n)));
    const actual = dataOf(hidden, 'float32');
    const width = heads * E;
    for (let t = 0; t < n; t++) {
      found.add(actual.subarray(t * width, (t + 1) * width), hiddenOfReference(expected, t, heads, E));
    }
  }
  return found;
}

async function stepsAgainstReference(
  { probe, parameters, lengths }: Subject,
  engine: DecodingEngine,
  portions: readonly number[],
): Promise<Discrepancy> {
  const { heads } = probe.sizes;
  const E = valueWidth(probe.sizes);
  const tokens = positions(lengths[lengths.length - 1]);
  const expected = mixReference(probe.mixers[0], referenceInput(probe, parameters, tokens));
  const hidden = await readPortions(engine, engine.newState(), tokens, portions, 'hidden');
  const found = new Discrepancy();
  hidden.forEach((row, t) => found.add(row, hiddenOfReference(expected, t, heads, E)));
  return found;
}

/** A random tree behind each committed length near a group's edge; to the reference both are one bigger tree. */
async function treesAgainstReference({ probe, parameters, lengths, options }: Subject, engine: DecodingEngine) {
  const { heads } = probe.sizes;
  const E = valueWidth(probe.sizes);
  const random = new Random(options.seed + 1);
  const found = new Discrepancy();
  for (const committed of committedLengths(probe.mixers[0], lengths[lengths.length - 1])) {
    const tokens = positions(committed + treeNodes);
    const state = engine.newState();
    await readPortions(engine, state, tokens, randomPortions(committed, longestChunk, random), 'hidden');
    const tree = randomForest(treeNodes, random);
    const hidden = await readTree(engine, state, tree, tokens.subarray(committed), 'hidden');
    const parents = Int32Array.from(tokens, (_, i) => (i < committed ? i - 1 : committed - 1));
    tree.parents.forEach((parent, node) => {
      if (parent >= 0) parents[committed + node] = committed + parent;
    });
    const expected = mixReference(probe.mixers[0], referenceInput(probe, parameters, tokens, parents));
    hidden.forEach((row, node) => found.add(row, hiddenOfReference(expected, committed + node, heads, E)));
  }
  return found;
}
