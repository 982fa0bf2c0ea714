/**
 * Compares forms: a mixer on random rows against the reference's float64 loops, a whole model against one parallel pass.
 * Forms are the parallel graph and the decoding engine with single steps, chunks and trees, with commit and folding.
 */
import { range } from 'd3-array';
import { float32Error, isCausal, isExchangeable, mixReference } from '../../attention/mixers.ts';
import type { MixerConfig } from '../../attention/mixer.ts';
import { chain, TokenTree } from '../../attention/tree.ts';
import { type AnyParameter, layeredWeights, loadTensors, segmentWeights } from '../../checkpoint/stored-parameter.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { Graph, type Value } from '../../graph/graph.ts';
import { dataOf, int32, type Weights } from '../../graph/tensor.ts';
import { type CausalModel, valueWidth } from '../../models/model.ts';
import { parallelHidden, parallelLogits } from '../../models/graphs/parallel-graph.ts';
import { InputParameters, type ParameterSource } from '../../nn/parameters.ts';
import { Random } from '../../random.ts';
import type { CompileOptions, NamedTensors } from '../../runtime/compile.ts';
import { compileWeighted, runOnce } from '../../runtime/weighted-program.ts';
import { checkedGroup, checkedLength, committedLengths, comparedLengths } from './checked-extent.ts';
import { hiddenOfReference, mixerProbe, type ProbeSizes, randomProbe, referenceInput } from './mixer-probe.ts';
import { type CheckRow, checkTests, comparedRow, Discrepancy, inapplicableRow, limits, modelLimit } from './rows.ts';

export interface ParityOptions {
  /** Longest sequence. */
  readonly maximumLength: number;
  readonly seed: number;
  readonly compile?: CompileOptions;
  /** The engine whose steps are compared with the model. Default: one made from the parameters, in memory. */
  readonly engine?: StepEngine;
}

/** In memory, or in files read one layer at a time. */
export type ParameterValues = ReadonlyMap<string, AnyParameter>;

/** Makes a graph's output from inputs by name. */
export type Computation = (source: ParameterSource, inputs: Readonly<Record<string, Value>>) => Value;

/** A computation's float32 numbers, run once over feeds; layer by layer if parameters are in files. */
export async function computed(
  parameters: ParameterValues,
  feeds: NamedTensors,
  build: Computation,
  options: CompileOptions | undefined,
): Promise<Float32Array> {
  const graph = new Graph('check');
  graph.output('computed', build(new InputParameters(graph), inputsOf(graph, feeds)));
  await using program = await compileWeighted(graph, layeredWeights(parameters), options);
  return dataOf((await runOnce(program, feeds, segmentWeights(parameters))).computed, 'float32');
}

/** A graph's inputs for feeds. */
export function inputsOf(graph: Graph, feeds: NamedTensors): Record<string, Value> {
  const named = Object.entries(feeds).map(
    ([name, { dtype, shape }]) => [name, graph.input(name, dtype, shape)] as const,
  );
  return Object.fromEntries(named);
}

/** The rows that a form must give at all tokens: a chain, perhaps followed by a tree's nodes. */
type ExpectedRows = (tokens: Int32Array, tree?: TokenTree) => Promise<readonly ArrayLike<number>[]>;

/** An engine to compare. */
interface Compared {
  readonly engine: StepEngine;
  readonly output: 'hidden' | 'logits';
  readonly expected: ExpectedRows;
}

/** Reads tokens in chains of `portions[i]` nodes, then a tree after them, and compares the last part's rows. */
async function compareReading(
  { engine, output, expected }: Compared,
  tokens: Int32Array,
  portions: readonly number[],
  tree?: TokenTree,
  found = new Discrepancy(),
): Promise<Discrepancy> {
  const wantedRows = await expected(tokens, tree);
  const state = engine.newState();
  let start = 0;
  for (const part of [...portions.map(chain), ...(tree === undefined ? [] : [tree])]) {
    const wanted = range(part.size);
    const request = { state, tree: part, tokens: tokens.subarray(start, start + part.size), wanted };
    const [step] = await engine.step([request]);
    for (const node of wanted) {
      if (tree === undefined || part === tree) found.add(step[output][node], wantedRows[start + node]);
    }
    if (part !== tree) await engine.commit(request, step, wanted);
    start += part.size;
  }
  return found;
}

/** Random portions of tokens, each from 1 to `most`, that sum to `length`: groups open and close inside and between them. */
function randomPortions(length: number, most: number, random: Random): number[] {
  const portions: number[] = [];
  for (let left = length; left > 0; left -= portions[portions.length - 1]) {
    portions.push(Math.min(left, 1 + random.integer(most)));
  }
  return portions;
}

/** A random forest, mostly deep, so that its paths cross an edge a few positions away. */
function randomForest(size: number, random: Random): TokenTree {
  return new TokenTree(Array.from({ length: size }, (_, node) => Math.max(-1, node - 1 - random.integer(3))));
}

const mixerTree = { nodes: 12, longestChunk: 13 };

/** Compares all of a mixer's forms. @param name its name in the rows */
export async function* mixerParity(
  name: string,
  mixer: MixerConfig,
  sizes: Omit<ProbeSizes, 'vocabulary'>,
  options: ParityOptions,
): AsyncGenerator<CheckRow> {
  const lengths = comparedLengths(mixer, options.maximumLength);
  const longest = lengths[lengths.length - 1];
  const probe = mixerProbe(mixer, {
    ...(isExchangeable(mixer) ? fewerHeads(sizes) : sizes),
    vocabulary: longest + mixerTree.nodes,
  });
  const parameters = randomProbe(probe, new Random(options.seed));
  const about = { subject: name, limit: Math.max(limits.mixer, float32Error(mixer)), length: longest };
  const expected = referenceRows(probe, parameters);
  const found = new Discrepancy();
  for (const n of lengths) {
    const feeds = { tokens: int32([1, n], ownRows(n)) };
    const whole: Computation = (source, { tokens }) => parallelHidden(probe, source, tokens);
    const actual = await computed(parameters, feeds, whole, options.compile);
    const wanted = await expected(ownRows(n));
    const width = actual.length / n;
    wanted.forEach((values, t) => found.add(actual.subarray(t * width, (t + 1) * width), values));
  }
  yield comparedRow({ ...about, test: checkTests.parallel }, found);
  if (!isCausal(mixer)) {
    const note = 'it reads the future: it cannot decode';
    const untested = [checkTests.stepByStep, checkTests.stepInChunks, checkTests.tree];
    yield* untested.map((test) => inapplicableRow({ ...about, test }, note));
    return;
  }
  await using engine = await DecodingEngine.create(probe, parameters, options.compile);
  const random = new Random(options.seed);
  const chunks = (length: number): number[] => randomPortions(length, mixerTree.longestChunk, random);
  const compared: Compared = { engine, output: 'hidden', expected };
  const oneByOne = await compareReading(compared, ownRows(longest), new Array<number>(longest).fill(1));
  yield comparedRow({ ...about, test: checkTests.stepByStep }, oneByOne);
  const inChunks = await compareReading(compared, ownRows(longest), chunks(longest));
  yield comparedRow({ ...about, test: checkTests.stepInChunks }, inChunks);
  const behind = new Discrepancy();
  for (const committed of committedLengths(mixer, longest)) {
    const tokens = ownRows(committed + mixerTree.nodes);
    await compareReading(compared, tokens, chunks(committed), randomForest(mixerTree.nodes, random), behind);
  }
  yield comparedRow({ ...about, test: checkTests.tree }, behind);
}

/** Tokens 0, 1, 2, …: every position has its own rows. */
function ownRows(length: number): Int32Array {
  return Int32Array.from(range(length));
}

/** Fewer heads, for the reference's slow loops: heads do not differ, so two key-value heads show everything. */
export function fewerHeads(sizes: Omit<ProbeSizes, 'vocabulary'>): Omit<ProbeSizes, 'vocabulary'> {
  const keyValueHeads = Math.min(2, sizes.keyValueHeads);
  return { ...sizes, keyValueHeads, heads: (sizes.heads / sizes.keyValueHeads) * keyValueHeads };
}

/** To the reference, chain and tree form one bigger tree. */
function referenceRows(probe: CausalModel, parameters: Weights): ExpectedRows {
  return async (tokens, tree) => {
    const committed = tokens.length - (tree?.size ?? 0);
    const parents = Int32Array.from(tokens, (_, i) => {
      const parent = tree?.parents[i - committed] ?? -1;
      return parent >= 0 ? committed + parent : Math.min(i, committed) - 1;
    });
    const input = referenceInput(probe, parameters, tokens, tree && parents);
    const mixed = mixReference(probe.mixers[0], input);
    return Array.from(tokens, (_, t) => hiddenOfReference(mixed, t, probe.sizes.heads, valueWidth(probe.sizes)));
  };
}

const modelTree = { nodes: 8, longestChunk: 24 };

/** Compares a model's forms with its own parameters. */
export async function* modelParity(
  model: CausalModel,
  parameters: ParameterValues,
  options: ParityOptions,
): AsyncGenerator<CheckRow> {
  const length = checkedLength(model.mixers, options.maximumLength);
  const about = { subject: 'model', limit: modelLimit(model.mixers), length };
  if (!model.mixers.every((mixer) => isCausal(mixer))) {
    const note = 'a layer reads the future: the model cannot decode';
    yield* [checkTests.modelSteps, checkTests.modelTree].map((test) => inapplicableRow({ ...about, test }, note));
    return;
  }
  const { engine, compile } = options;
  if (engine === undefined) {
    await using made = await DecodingEngine.create(model, await loadTensors(parameters), compile);
    yield* modelParity(model, parameters, { ...options, engine: made });
    return;
  }
  const expected = parallelRows(model, parameters, options);
  const random = new Random(options.seed);
  const compare = (committed: number, tree?: TokenTree): Promise<Discrepancy> => {
    const tokens = random.integers(committed + (tree?.size ?? 0), model.sizes.vocabulary);
    const portions = randomPortions(committed, modelTree.longestChunk, random);
    return compareReading({ engine, output: 'logits', expected }, tokens, portions, tree);
  };
  const { nodes } = modelTree;
  const committed = Math.max(0, Math.min(Math.max(...model.mixers.map(checkedGroup)) - 2, length - nodes));
  yield comparedRow({ ...about, test: checkTests.modelSteps }, await compare(length));
  const tree = await compare(committed, randomForest(nodes, random));
  yield comparedRow({ ...about, test: checkTests.modelTree, length: committed + nodes }, tree);
}

/** Logits of one parallel pass over the chain; with a tree, over the chain plus each of its paths, shorter ones padded. */
function parallelRows(model: CausalModel, parameters: ParameterValues, options: ParityOptions): ExpectedRows {
  return async (tokens, tree) => {
    const committed = tokens.length - (tree?.size ?? 0);
    const paths = tree?.leaves().map((leaf) => tree.pathTo(leaf)) ?? [[]];
    const n = committed + Math.max(...paths.map((path) => path.length));
    const sequences = new Int32Array(paths.length * n);
    paths.forEach((path, row) => {
      sequences.set(tokens.subarray(0, committed), row * n);
      path.forEach((node, depth) => {
        sequences[row * n + committed + depth] = tokens[committed + node];
      });
    });
    const feeds = { tokens: int32([paths.length, n], sequences) };
    const whole: Computation = (source, inputs) => parallelLogits(model, source, inputs.tokens);
    const logits = await computed(parameters, feeds, whole, options.compile);
    const V = model.sizes.vocabulary;
    const rowAt = (position: number): Float32Array => logits.subarray(position * V, (position + 1) * V);
    const rows = Array.from({ length: committed }, (_, position) => rowAt(position));
    paths.forEach((path, row) =>
      path.forEach((node, depth) => {
        rows[committed + node] = rowAt(row * n + committed + depth);
      }),
    );
    return rows;
  };
}
