/**
 * The compiled training step: loss, gradients, clipping and the AdamW optimizer step in one graph, so that only new parameters
 * and moments leave the engine. With accumulation there are two graphs: one adds a micro-batch's gradients to the sum
 * so far, one applies the sum.
 */
import { LinnetError } from '../errors.ts';
import type { BatchTensors } from '../data/rows/row-dataset.ts';
import { gradients } from '../graph/gradients.ts';
import { Graph, type Value } from '../graph/graph.ts';
import { add, div, mul } from '../graph/ops/elementwise.ts';
import { dataOf, float32, type Tensor, zeros } from '../graph/tensor.ts';
import { consequencesOf, type DeclaredParameters } from '../nn/parameter-roles.ts';
import { type ParameterSource, WeightParameters } from '../nn/parameters.ts';
import type { GraphCompiler, Program } from '../runtime/program.ts';
import { adamW, type AdamWConfig, adamWFeeds, clipByNorm, declareAdamWInputs, globalNorm } from './adamw.ts';
import { type Objective, weightsInput } from './objectives/next-token.ts';
import { BlockParameters, type ParameterBlock, parameterBlocks } from './parameter-blocks.ts';

/** Everything an optimizer step changes, by block name. */
export interface TrainingState {
  parameters: Map<string, Tensor<'float32'>>;
  first: Map<string, Tensor<'float32'>>;
  second: Map<string, Tensor<'float32'>>;
}

export interface StepResult {
  /** Mean of the objective per weighted prediction, before the optimizer step; nats where it is −log p. */
  readonly loss: number;
  /** Norm of all gradients together, before clipping. */
  readonly gradientNorm: number;
}

/** Definition of a step. */
export interface StepDescription {
  /** All parameters that the objective asks for, trained or not. */
  readonly parameters: DeclaredParameters;
  readonly objective: Objective;
  /** Rows of a micro-batch. */
  readonly rows: number;
  /** Micro-batches per optimizer step; 1 fuses everything into one graph. */
  readonly accumulate: number;
  readonly optimizer: AdamWConfig;
  /** Largest norm of all gradients together; undefined does not clip. */
  readonly clip?: number;
  /** Which parameters are trained; default all. */
  readonly trainable?: (name: string) => boolean;
  /** Values of the parameters that are not trained. */
  readonly frozen?: ReadonlyMap<string, Tensor>;
  /** Factor of a parameter's learning rate; default 1. */
  readonly rateFactor?: (parameter: string) => number;
  /** Largest block in bytes; see parameter-blocks.ts. */
  readonly blockBytes?: number;
}

export interface TrainingProgramOptions extends StepDescription {
  /** Compiler of the programs, in Node or in a page. */
  readonly compile: GraphCompiler;
}

/** Names of outputs: inputs and outputs of a graph must differ. */
const updated = {
  parameter: (name: string) => `new ${name}`,
  first: (name: string) => `new m ${name}`,
  second: (name: string) => `new v ${name}`,
  sum: (name: string) => `new sum ${name}`,
};
const inputNames = {
  first: (name: string) => `m ${name}`,
  second: (name: string) => `v ${name}`,
  sum: (name: string) => `sum ${name}`,
};

/** Runs optimizer steps. Make it with `TrainingProgram.create`, and `dispose` of it. */
export class TrainingProgram {
  readonly blocks: readonly ParameterBlock[];
  readonly #options: TrainingProgramOptions;
  readonly #fused: Program | undefined;
  readonly #accumulation: { add: Program; update: Program } | undefined;

  private constructor(
    options: TrainingProgramOptions,
    blocks: readonly ParameterBlock[],
    fused: Program | undefined,
    accumulation: { add: Program; update: Program } | undefined,
  ) {
    this.#options = options;
    this.blocks = blocks;
    this.#fused = fused;
    this.#accumulation = accumulation;
  }

  /** Builds and compiles the graphs. @throws LinnetError `CONFIG` if nothing is trainable */
  static async create(options: TrainingProgramOptions): Promise<TrainingProgram> {
    const { trainable = () => true, blockBytes } = options;
    const trained = new Map([...options.parameters].filter(([name]) => trainable(name)));
    if (trained.size === 0) throw new LinnetError('CONFIG', 'no parameter is trainable');
    const blocks = parameterBlocks(trained, blockBytes);
    if (options.accumulate === 1) {
      return new TrainingProgram(options, blocks, await options.compile(fusedGraph(options, blocks)), undefined);
    }
    const add = await options.compile(accumulationGraph(options, blocks));
    try {
      const update = await options.compile(updateGraph(options, blocks));
      return new TrainingProgram(options, blocks, undefined, { add, update });
    } catch (error) {
      await add.dispose();
      throw error;
    }
  }

  /**
   * One optimizer step. The state's maps are replaced, their tensors are not written to.
   *
   * @param batches `accumulate` micro-batches, by input name; the loss is the mean over all their weighted predictions
   * @param update counted from 0, for the bias correction
   */
  async step(
    state: TrainingState,
    batches: readonly BatchTensors[],
    learningRate: number,
    update: number,
  ): Promise<StepResult> {
    if (batches.length !== this.#options.accumulate) {
      throw new LinnetError(
        'CONFIG',
        `an update needs ${this.#options.accumulate} micro-batches, got ${batches.length}`,
      );
    }
    const weight = totalWeight(batches);
    const common = { ...adamWFeeds(this.#options.optimizer, learningRate, update), ...stateFeeds(state, this.blocks) };
    const fetch = [
      'gradient_norm',
      ...this.blocks.flatMap(({ name }) => [updated.parameter(name), updated.first(name), updated.second(name)]),
    ];
    if (this.#fused !== undefined) {
      const feeds = { ...common, ...this.#batchFeeds(batches[0]), total_weight: float32([], [weight]) };
      const results = await this.#fused.run(feeds, ['loss', ...fetch]);
      takeState(state, results, this.blocks);
      return { loss: scalar(results.loss), gradientNorm: scalar(results.gradient_norm) };
    }
    if (this.#accumulation === undefined)
      throw new LinnetError('INTERNAL', 'internal: a training program without graphs');
    let sums: Record<string, Tensor> = {};
    for (const { name, shape } of this.blocks) sums[inputNames.sum(name)] = zeros('float32', shape);
    let loss = 0;
    for (const batch of batches) {
      const feeds = {
        ...parameterFeeds(state, this.blocks),
        ...sums,
        ...this.#batchFeeds(batch),
        total_weight: float32([], [weight]),
      };
      const results = await this.#accumulation.add.run(feeds, [
        'loss',
        ...this.blocks.map(({ name }) => updated.sum(name)),
      ]);
      sums = {};
      for (const { name } of this.blocks) sums[inputNames.sum(name)] = results[updated.sum(name)];
      loss += scalar(results.loss);
    }
    const results = await this.#accumulation.update.run({ ...common, ...sums }, fetch);
    takeState(state, results, this.blocks);
    return { loss, gradientNorm: scalar(results.gradient_norm) };
  }

  /** The objective's inputs; a data set may give more. */
  #batchFeeds(batch: BatchTensors): Record<string, Tensor> {
    const feeds: Record<string, Tensor> = {};
    for (const name of Object.keys(this.#options.objective.inputs)) feeds[name] = batch[name];
    return feeds;
  }

  async dispose(): Promise<void> {
    await this.#fused?.dispose();
    await this.#accumulation?.add.dispose();
    await this.#accumulation?.update.dispose();
  }
}

/** A state with the given parameters and zero moments. */
export function initialState(
  blocks: readonly ParameterBlock[],
  parameters: Map<string, Tensor<'float32'>>,
): TrainingState {
  const moments = (): Map<string, Tensor<'float32'>> =>
    new Map(blocks.map(({ name, shape }) => [name, zeros('float32', shape)]));
  return { parameters, first: moments(), second: moments() };
}

function totalWeight(batches: readonly BatchTensors[]): number {
  let total = 0;
  for (const batch of batches) for (const weight of dataOf(batch[weightsInput], 'float32')) total += weight;
  if (total === 0) throw new LinnetError('INPUT', 'a batch has nothing to predict: all weights are 0');
  return total;
}

function parameterFeeds(state: TrainingState, blocks: readonly ParameterBlock[]): Record<string, Tensor> {
  return Object.fromEntries(blocks.map(({ name }) => [name, given(state.parameters, name)]));
}

function stateFeeds(state: TrainingState, blocks: readonly ParameterBlock[]): Record<string, Tensor> {
  const feeds = parameterFeeds(state, blocks);
  for (const { name } of blocks) {
    feeds[inputNames.first(name)] = given(state.first, name);
    feeds[inputNames.second(name)] = given(state.second, name);
  }
  return feeds;
}

function given(tensors: ReadonlyMap<string, Tensor<'float32'>>, name: string): Tensor<'float32'> {
  const found = tensors.get(name);
  if (found === undefined) throw new LinnetError('TENSOR', `the training state has no "${name}"`);
  return found;
}

function takeState(
  state: TrainingState,
  results: Readonly<Record<string, Tensor>>,
  blocks: readonly ParameterBlock[],
): void {
  const collect = (rename: (name: string) => string): Map<string, Tensor<'float32'>> =>
    new Map(blocks.map(({ name }) => [name, asFloat32(results[rename(name)])]));
  state.parameters = collect(updated.parameter);
  state.first = collect(updated.first);
  state.second = collect(updated.second);
}

function asFloat32(value: Tensor): Tensor<'float32'> {
  const { data } = value;
  if (!(data instanceof Float32Array))
    throw new LinnetError('INTERNAL', `internal: expected float32, got ${value.dtype}`);
  return { dtype: 'float32', shape: value.shape, data };
}

function scalar(value: Tensor): number {
  return Number(value.data[0]);
}

/** The mean loss of a micro-batch: its sum over the weight of the whole update, so that micro-batch losses add up. */
function batchLoss(options: StepDescription, graph: Graph, source: ParameterSource): Value {
  const { objective, rows } = options;
  const batch = Object.fromEntries(
    Object.entries(objective.inputs).map(([name, { dtype, shape }]) => [
      name,
      graph.input(name, dtype, [rows, ...shape]),
    ]),
  );
  return div(objective.loss(source, batch), graph.input('total_weight', 'float32', []));
}

function trainedSource(options: StepDescription, graph: Graph, blocks: readonly ParameterBlock[]): BlockParameters {
  const frozen = options.frozen === undefined ? undefined : new WeightParameters(graph, options.frozen);
  return new BlockParameters(graph, blocks, frozen);
}

/** The whole step as one graph: loss, gradients, clipping, optimizer step. */
export function fusedGraph(options: StepDescription, blocks: readonly ParameterBlock[]): Graph {
  const graph = new Graph('training step');
  const source = trainedSource(options, graph, blocks);
  const loss = batchLoss(options, graph, source);
  graph.output('loss', loss);
  applyUpdate(options, graph, blocks, source.inputs, gradients(loss, [...source.inputs.values()]));
  return graph;
}

/** The loss alone, for data that is not trained on; divided by `total_weight` as in training. */
export function lossGraph(options: StepDescription, blocks: readonly ParameterBlock[]): Graph {
  const graph = new Graph('held-out loss');
  graph.output('loss', batchLoss(options, graph, trainedSource(options, graph, blocks)));
  return graph;
}

function accumulationGraph(options: StepDescription, blocks: readonly ParameterBlock[]): Graph {
  const graph = new Graph('gradient accumulation');
  const source = trainedSource(options, graph, blocks);
  const loss = batchLoss(options, graph, source);
  graph.output('loss', loss);
  const found = gradients(loss, [...source.inputs.values()]);
  blocks.forEach(({ name, shape }, index) => {
    const sum = graph.input(inputNames.sum(name), 'float32', shape);
    graph.output(updated.sum(name), add(sum, found[index]));
  });
  return graph;
}

function updateGraph(options: StepDescription, blocks: readonly ParameterBlock[]): Graph {
  const graph = new Graph('parameter update');
  const parameters = new Map(blocks.map(({ name, shape }) => [name, graph.input(name, 'float32', shape)]));
  const sums = blocks.map(({ name, shape }) => graph.input(inputNames.sum(name), 'float32', shape));
  applyUpdate(options, graph, blocks, parameters, sums);
  return graph;
}

function applyUpdate(
  options: StepDescription,
  graph: Graph,
  blocks: readonly ParameterBlock[],
  parameters: ReadonlyMap<string, Value>,
  found: readonly Value[],
): void {
  const norm = globalNorm(found);
  graph.output('gradient_norm', norm);
  const clipped = options.clip === undefined ? found : clipByNorm(found, norm, options.clip);
  const inputs = declareAdamWInputs(graph);
  blocks.forEach(({ name, shape, parameter }, index) => {
    const value = parameters.get(name);
    if (value === undefined) throw new LinnetError('INTERNAL', `internal: no input for block "${name}"`);
    const moments = {
      first: graph.input(inputNames.first(name), 'float32', shape),
      second: graph.input(inputNames.second(name), 'float32', shape),
    };
    const factor = options.rateFactor?.(parameter) ?? 1;
    const role = options.parameters.get(parameter)?.role;
    const next = adamW(
      options.optimizer,
      { ...inputs, learningRate: mul(inputs.learningRate, factor) },
      value,
      clipped[index],
      moments,
      role !== undefined && consequencesOf(role).decays,
    );
    graph.output(updated.parameter(name), next.parameter);
    graph.output(updated.first(name), next.moments.first);
    graph.output(updated.second(name), next.moments.second);
  });
}
