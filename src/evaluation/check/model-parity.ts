/** The whole model's two forms against each other: logits of steps, chunks and trees against one parallel pass. */
import { isCausal } from '../../attention/mixers.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import { Graph } from '../../graph/graph.ts';
import { dataOf, type Tensor, tensor } from '../../graph/tensor.ts';
import type { AutoregressiveModel, CausalModel } from '../../models/model.ts';
import { parallelLogits } from '../../models/graphs/parallel-graph.ts';
import { InputParameters } from '../../nn/parameters.ts';
import { Random } from '../../random.ts';
import { compile, type CompileOptions } from '../../runtime/compile.ts';
import { onlyInputs } from '../../runtime/program.ts';
import { checkedGroup, checkedLength } from './checked-lengths.ts';
import { type CheckRow, checkTests, comparedRow, Discrepancy, inapplicableRow, modelLimit } from './rows.ts';
import type { ParityOptions } from './mixer-parity.ts';
import { randomPortions, randomForest, readPortions, readTree } from '../perplexity/step-reading.ts';

const treeNodes = 8;

/** Chunks of random tokens, some of them single, so that groups open and close inside and between chunks. */
const longestChunk = 24;

/** Compares the forms of a model with its own parameters. */
export async function modelParity(
  model: CausalModel,
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  options: ParityOptions,
): Promise<CheckRow[]> {
  const length = checkedLength(model.mixers, options.maximumLength);
  const about = { subject: 'model', limit: modelLimit(model.mixers), length };
  if (!model.mixers.every((mixer) => isCausal(mixer))) {
    const note = 'a layer reads the future: the model cannot decode';
    return [checkTests.modelSteps, checkTests.modelTree].map((test) => inapplicableRow({ ...about, test }, note));
  }
  const engine = await DecodingEngine.create(model, parameters, options.compile);
  try {
    const steps = await stepsAgainstParallel(engine, parameters, length, options);
    const committed = Math.max(0, Math.min(Math.max(...model.mixers.map(checkedGroup)) - 2, length - treeNodes));
    const tree = await treeAgainstParallel(engine, parameters, committed, options);
    return [
      comparedRow({ ...about, test: checkTests.modelSteps }, steps),
      comparedRow({ ...about, test: checkTests.modelTree, length: committed + treeNodes }, tree),
    ];
  } finally {
    await engine.dispose();
  }
}

async function stepsAgainstParallel(
  engine: DecodingEngine,
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  length: number,
  options: ParityOptions,
): Promise<Discrepancy> {
  const random = new Random(options.seed);
  const tokens = randomTokens(engine.model, length, random);
  const [expected] = await logitsOf(engine.model, parameters, [tokens], options.compile);
  const portions = randomPortions(length, longestChunk, random);
  const logits = await readPortions(engine, engine.newState(), tokens, portions, 'logits');
  const found = new Discrepancy();
  logits.forEach((row, t) => found.add(row, expected(t)));
  return found;
}

/** Every node against the sequence of the committed tokens and the node's path. */
async function treeAgainstParallel(
  engine: DecodingEngine,
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  committed: number,
  options: ParityOptions,
): Promise<Discrepancy> {
  const random = new Random(options.seed + 1);
  const prefix = randomTokens(engine.model, committed, random);
  const tree = randomForest(treeNodes, random);
  const nodeTokens = randomTokens(engine.model, treeNodes, random);
  const state = engine.newState();
  await readPortions(engine, state, prefix, randomPortions(committed, longestChunk, random), 'logits');
  const logits = await readTree(engine, state, tree, nodeTokens, 'logits');
  const paths = tree.leaves().map((leaf) => tree.pathTo(leaf));
  const sequences = paths.map((path) => Int32Array.from([...prefix, ...path.map((node) => nodeTokens[node])]));
  const expected = await logitsOf(engine.model, parameters, sequences, options.compile);
  const found = new Discrepancy();
  paths.forEach((path, i) =>
    path.forEach((node, depth) => {
      found.add(logits[node], expected[i](committed + depth));
    }),
  );
  return found;
}

function randomTokens(model: AutoregressiveModel, count: number, random: Random): Int32Array {
  return Int32Array.from({ length: count }, () => random.integer(model.sizes.vocabulary));
}

/** Logits [V] by position of each sequence, in one parallel pass, shorter ones padded. */
async function logitsOf(
  model: AutoregressiveModel,
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  sequences: readonly Int32Array[],
  compileOptions: CompileOptions | undefined,
): Promise<((position: number) => Float32Array)[]> {
  const B = sequences.length;
  const n = Math.max(...sequences.map((sequence) => sequence.length));
  const tokens = new Int32Array(B * n);
  sequences.forEach((sequence, row) => {
    tokens.set(sequence, row * n);
  });
  const graph = new Graph('parallel logits');
  const source = new InputParameters(graph);
  graph.output('logits', parallelLogits(model, source, graph.input('tokens', 'int32', [B, n])));
  const program = await compile(graph, compileOptions);
  try {
    const feeds = { ...Object.fromEntries(parameters), tokens: tensor('int32', [B, n], tokens) };
    const { logits: found } = await program.run(onlyInputs(program, feeds), ['logits']);
    const logits = dataOf(found, 'float32');
    const V = model.sizes.vocabulary;
    return sequences.map((_, row) => (position) => {
      const start = (row * n + position) * V;
      return logits.subarray(start, start + V);
    });
  } finally {
    await program.dispose();
  }
}
