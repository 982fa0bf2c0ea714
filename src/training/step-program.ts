/**
 * The compiled training step: loss, gradients, clipping and the AdamW optimizer step in one graph, so that only new parameters
 * and moments leave the engine. With accumulation, and for many parameters, there are two graphs: one adds a micro-batch's
 * gradients to the sum so far, one applies the sum block by block, so that parameters and moments are held once.
 */
import { internalError, LinnetError } from '../errors.ts';
import type { BatchTensors } from '../data/rows/row-dataset.ts';
import { gradients } from '../graph/gradients.ts';
import { declareInputs, Graph } from '../graph/graph.ts';
import { add, div, mul } from '../graph/ops/elementwise.ts';
import { dataOf, float32, type Tensor, tensor, type WeightMap, type Weights, zeros } from '../graph/tensor.ts';
import type { ModelDescription } from '../models/model.ts';
import {
  InputParameters,
  WeightParameters,
  consequencesOf,
  parameterCount,
  selectParameters,
} from '../nn/parameters.ts';
import { type GraphCompiler, onlyInputs, type Program } from '../runtime/program.ts';
import type { SegmentWeights } from '../runtime/segmented-program.ts';
import { adamW, type AdamWConfig, adamWFeeds, clipByNorm, declareAdamWInputs, globalNorm } from './adamw.ts';
import { type Objective, weightsInput } from './objectives/next-token.ts';
import { BlockParameters, type ParameterBlock, parameterBlocks } from './parameter-blocks.ts';
import { SegmentedGradients } from './segmented-gradients.ts';
import { microBatchRows, type TrainingSettings } from './settings.ts';

/** Everything an optimizer step changes, by block name. */
export interface TrainingState {
  parameters: WeightMap;
  first: WeightMap;
  second: WeightMap;
}

export interface StepResult {
  /** Mean of the objective per weighted prediction, before the optimizer step; nats where it is −log p. */
  readonly loss: number;
  /** Norm of all gradients together, before clipping. */
  readonly gradientNorm: number;
}

/** The model to train, by which loss, and how. */
export interface StepJob {
  /** Names and shapes of all parameters. */
  readonly model: Pick<ModelDescription, 'parameters'>;
  /** The loss. */
  readonly objective: Objective;
  /** Where training starts. Not written to. */
  readonly parameters: Weights;
  /** Frozen parameters that are not among `parameters`: read layer by layer, in which gradients are computed then. */
  readonly weights?: SegmentWeights;
  /** Steps, rates, batch, length and the rest, with defaults filled in. */
  readonly settings: TrainingSettings;
  /** Which parameters are trained; default all. */
  readonly trainable?: (name: string) => boolean;
  /** Factor of a parameter's learning rate; default 1. */
  readonly rateFactor?: (parameter: string) => number;
}

/** A job, and the form of its programs. */
export interface ProgramJob extends StepJob {
  /** Whether programs keep frozen parameters, on a device with its own memory. Default: they are read where they lie. */
  readonly keepFrozen?: boolean;
  /** Largest block in bytes; see parameter-blocks.ts. */
  readonly blockBytes?: number;
  /** Bytes of trained parameters that one graph may update. Default: 64 MiB. */
  readonly fusedBytes?: number;
}

const usualFusedBytes = 2 ** 26;

export const stateParts = ['parameters', 'first', 'second'] as const;
/** What names of inputs begin with, by the part of the state, and for sums of gradients. */
const prefixes = { parameters: '', first: 'm ', second: 'v ', sum: 'sum ' } as const;

/** Names of outputs: inputs and outputs of a graph must differ. */
function updated(part: keyof typeof prefixes, name: string): string {
  return `new ${prefixes[part]}${name}`;
}

/** Programs of the two-graph form: gradients, and the optimizer step of a block whose parameter decays (true) or does not. */
interface SplitPrograms {
  readonly gradients: Program | SegmentedGradients;
  readonly updates: ReadonlyMap<boolean, Program>;
}

/** Runs optimizer steps. Make it with `TrainingProgram.create`, and dispose of it. */
export class TrainingProgram implements AsyncDisposable {
  readonly blocks: readonly ParameterBlock[];
  readonly #job: StepJob;
  readonly #programs: Program | SplitPrograms;

  private constructor(job: StepJob, blocks: readonly ParameterBlock[], programs: Program | SplitPrograms) {
    this.#job = job;
    this.blocks = blocks;
    this.#programs = programs;
  }

  /** Builds and compiles the graphs, in Node or in a page. @throws LinnetError `CONFIG` if nothing is trainable */
  static async create(job: ProgramJob, compile: GraphCompiler): Promise<TrainingProgram> {
    const { graph, blocks, fused } = microBatchGraph(job);
    const names = new Set(blocks.map(({ name }) => name));
    const gradients =
      job.weights === undefined
        ? await compile(graph)
        : await SegmentedGradients.create(graph, names, job.weights, compile);
    if (fused && !(gradients instanceof SegmentedGradients)) return new TrainingProgram(job, blocks, gradients);
    const updates = new Map<boolean, Program>();
    try {
      for (const decays of new Set(blocks.map((block) => isDecayed(job, block)))) {
        updates.set(decays, await compile(blockUpdateGraph(job.settings, decays)));
      }
    } catch (error) {
      for (const program of [gradients, ...updates.values()]) await program[Symbol.asyncDispose]();
      throw error;
    }
    return new TrainingProgram(job, blocks, { gradients, updates });
  }

  /**
   * One optimizer step. The state's maps are replaced, their tensors are not written to.
   * @param batches the micro-batches of a batch, by input name; the loss is the mean over all their weighted predictions
   * @param update counted from 0, for the bias correction
   */
  async step(
    state: TrainingState,
    batches: readonly BatchTensors[],
    learningRate: number,
    update: number,
  ): Promise<StepResult> {
    const { settings } = this.#job;
    const count = microBatches(settings);
    if (batches.length !== count) {
      throw new LinnetError('CONFIG', `an update needs ${count} micro-batches, got ${batches.length}`);
    }
    const weight = totalWeight(batches);
    const programs = this.#programs;
    if ('gradients' in programs) {
      const { loss, sums } = await this.#gradients(programs.gradients, state, batches, weight);
      return { loss, gradientNorm: await this.#updateBlocks(programs.updates, state, sums, learningRate, update) };
    }
    const feeds = {
      ...this.#batchFeeds(programs, batches[0], weight),
      ...adamWFeeds(settings, learningRate, update),
      ...stateFeeds(state, this.blocks),
    };
    const fetch = this.blocks.flatMap(({ name }) => stateParts.map((part) => updated(part, name)));
    const results = await programs.run(feeds, ['loss', 'gradient_norm', ...fetch]);
    for (const part of stateParts) {
      state[part] = new Map(this.blocks.map(({ name }) => [name, asFloat32(results[updated(part, name)])]));
    }
    return { loss: scalar(results.loss), gradientNorm: scalar(results.gradient_norm) };
  }

  /** Loss and gradients of all micro-batches, the gradients by block. */
  async #gradients(
    program: Program | SegmentedGradients,
    state: TrainingState,
    batches: readonly BatchTensors[],
    weight: number,
  ): Promise<{ loss: number; sums: WeightMap }> {
    if (program instanceof SegmentedGradients) {
      const parameters = stateFeeds(state, this.blocks, ['parameters']);
      const { loss, gradients } = await program.run(
        batches.map((batch) => ({ ...this.#batchInputs(batch, weight), ...parameters })),
      );
      const of = ({ name, shape }: ParameterBlock) => gradients.get(name) ?? zeros('float32', shape);
      return { loss, sums: new Map(this.blocks.map((block) => [block.name, of(block)])) };
    }
    let sums = new Map<string, Tensor<'float32'>>();
    if (batches.length > 1) for (const { name, shape } of this.blocks) sums.set(name, zeros('float32', shape));
    let loss = 0;
    for (const batch of batches) {
      const feeds = { ...this.#batchFeeds(program, batch, weight), ...stateFeeds(state, this.blocks, ['parameters']) };
      for (const [name, sum] of sums) feeds[prefixes.sum + name] = sum;
      const results = await program.run(feeds, ['loss', ...this.blocks.map(({ name }) => updated('sum', name))]);
      sums = new Map(this.blocks.map(({ name }) => [name, asFloat32(results[updated('sum', name)])]));
      loss += scalar(results.loss);
    }
    return { loss, sums };
  }

  /** Updates block by block; the norm of all gradients. @param sums gradients by block, which are taken out of it */
  async #updateBlocks(
    updates: ReadonlyMap<boolean, Program>,
    state: TrainingState,
    sums: WeightMap,
    learningRate: number,
    update: number,
  ): Promise<number> {
    const { settings, rateFactor } = this.#job;
    let squares = 0;
    for (const { data } of sums.values()) for (const x of data) squares += x * x;
    const norm = Math.sqrt(squares);
    const factor = settings.clip === 0 ? 1 : Math.min(1, settings.clip / (norm + 1e-6));
    const [parameters, first, second] = [state.parameters, state.first, state.second].map((part) => new Map(part));
    Object.assign(state, { parameters, first, second });
    for (const block of this.blocks) {
      const { name, parameter, shape } = block;
      const flat = (tensors: Weights): Tensor<'float32'> => {
        const { data } = given(tensors, name);
        return tensor('float32', [data.length], data);
      };
      const rate = learningRate * (rateFactor?.(parameter) ?? 1);
      const feeds = { ...flatFeeds([parameters, first, second, sums].map(flat)), factor: float32([], [factor]) };
      sums.delete(name);
      const results = await updates
        .get(isDecayed(this.#job, block))
        ?.run({ ...adamWFeeds(settings, rate, update), ...feeds }, flatResults);
      if (results === undefined) throw internalError(`no program updates block "${name}"`);
      [parameters, first, second].forEach((part, i) => {
        part.set(name, { ...asFloat32(results[flatResults[i]]), shape });
      });
    }
    return norm;
  }

  /** Parameters that are not trained, the total weight, and the objective's inputs; a data set may give more. */
  #batchFeeds(program: Program, batch: BatchTensors, weight: number): Record<string, Tensor> {
    const frozen = onlyInputs(program, Object.fromEntries(this.#job.parameters));
    return { ...frozen, ...this.#batchInputs(batch, weight) };
  }

  #batchInputs(batch: BatchTensors, weight: number): Record<string, Tensor> {
    const inputs = Object.keys(this.#job.objective.inputs).map((name) => [name, batch[name]] as const);
    return { ...Object.fromEntries(inputs), total_weight: float32([], [weight]) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const programs = this.#programs;
    const all = 'gradients' in programs ? [programs.gradients, ...programs.updates.values()] : [programs];
    for (const program of all) await program[Symbol.asyncDispose]();
  }
}

/** The graph of a micro-batch, which is the whole step where `fused`. @throws LinnetError `CONFIG` if nothing is trainable */
export function microBatchGraph(job: ProgramJob): {
  graph: Graph;
  blocks: readonly ParameterBlock[];
  fused: boolean;
} {
  const { trainable = () => true, blockBytes, fusedBytes = usualFusedBytes } = job;
  const trained = selectParameters(job.model.parameters, trainable);
  if (trained.size === 0) throw new LinnetError('CONFIG', 'no parameter is trainable');
  const blocks = parameterBlocks(trained, blockBytes);
  if (job.weights !== undefined) return { graph: lossGraph(job, blocks), blocks, fused: false };
  const fused = microBatches(job.settings) === 1 && 4 * parameterCount(trained) <= fusedBytes;
  return { graph: (fused ? fusedGraph : gradientGraph)(job, blocks), blocks, fused };
}

/** Micro-batches of an optimizer step; one is fused with it into a graph. */
function microBatches(settings: TrainingSettings): number {
  return settings.batch / microBatchRows(settings);
}

function isDecayed({ model }: StepJob, { parameter }: ParameterBlock): boolean {
  const role = model.parameters.get(parameter)?.role;
  return role !== undefined && consequencesOf(role).decays;
}

/** A state with the given parameters and zero moments. */
export function initialState(blocks: readonly ParameterBlock[], parameters: WeightMap): TrainingState {
  const moments = (): WeightMap => new Map(blocks.map(({ name, shape }) => [name, zeros('float32', shape)]));
  return { parameters, first: moments(), second: moments() };
}

function totalWeight(batches: readonly BatchTensors[]): number {
  let total = 0;
  for (const batch of batches) for (const weight of dataOf(batch[weightsInput], 'float32')) total += weight;
  if (total === 0) throw new LinnetError('INPUT', 'a batch has nothing to predict: all weights are 0');
  return total;
}

function stateFeeds(
  state: TrainingState,
  blocks: readonly ParameterBlock[],
  parts: readonly (typeof stateParts)[number][] = stateParts,
): Record<string, Tensor> {
  const feeds = parts.flatMap((part) =>
    blocks.map(({ name }) => [prefixes[part] + name, given(state[part], name)] as const),
  );
  return Object.fromEntries(feeds);
}

function given(tensors: Weights, name: string): Tensor<'float32'> {
  const found = tensors.get(name);
  if (found === undefined) throw new LinnetError('TENSOR', `the training state has no "${name}"`);
  return found;
}

function asFloat32(value: Tensor): Tensor<'float32'> {
  return { dtype: 'float32', shape: value.shape, data: dataOf(value, 'float32') };
}

function scalar(value: Tensor): number {
  return Number(value.data[0]);
}

/**
 * A graph that gives out the mean loss of a micro-batch: its sum over the weight of the whole update, so that micro-batch losses
 * add up.
 * @returns the inputs of the blocks, too, in their order
 */
function beginGraph(name: string, job: ProgramJob, blocks: readonly ParameterBlock[]) {
  const { objective, settings, parameters, weights, keepFrozen = false } = job;
  const graph = new Graph(name);
  const isKept = keepFrozen && weights === undefined;
  const frozen = isKept ? new WeightParameters(graph, parameters) : new InputParameters(graph);
  const source = new BlockParameters(graph, blocks, frozen);
  const batch = declareInputs(graph, objective.inputs, [microBatchRows(settings)]);
  const loss = div(objective.loss(source, batch), graph.input('total_weight', 'float32', []));
  graph.output('loss', loss);
  return { graph, loss, inputs: source.inputs };
}

/** The whole step as one graph: loss, gradients, clipping, optimizer step. */
export function fusedGraph(job: ProgramJob, blocks: readonly ParameterBlock[]): Graph {
  const { settings, rateFactor } = job;
  const { graph, loss, inputs: values } = beginGraph('training step', job, blocks);
  const found = gradients(loss, values);
  const norm = globalNorm(found);
  graph.output('gradient_norm', norm);
  const clipped = settings.clip === 0 ? found : clipByNorm(found, norm, settings.clip);
  const inputs = declareAdamWInputs(graph);
  blocks.forEach((block, index) => {
    const { name, shape, parameter } = block;
    const moments = {
      first: graph.input(prefixes.first + name, 'float32', shape),
      second: graph.input(prefixes.second + name, 'float32', shape),
    };
    const rates = { ...inputs, learningRate: mul(inputs.learningRate, rateFactor?.(parameter) ?? 1) };
    const next = adamW(settings, rates, values[index], clipped[index], moments, isDecayed(job, block));
    graph.output(updated('parameters', name), next.parameter);
    graph.output(updated('first', name), next.moments.first);
    graph.output(updated('second', name), next.moments.second);
  });
  return graph;
}

/** The loss alone, for data that is not trained on; divided by `total_weight` as in training. */
export function lossGraph(job: ProgramJob, blocks: readonly ParameterBlock[]): Graph {
  return beginGraph('held-out loss', job, blocks).graph;
}

/** Loss and gradients of a micro-batch; with several of them, added to the sums so far. */
function gradientGraph(job: ProgramJob, blocks: readonly ParameterBlock[]): Graph {
  const { graph, loss, inputs } = beginGraph('gradients', job, blocks);
  const found = gradients(loss, inputs);
  blocks.forEach(({ name, shape }, index) => {
    const sum = microBatches(job.settings) > 1 ? graph.input(prefixes.sum + name, 'float32', shape) : undefined;
    graph.output(updated('sum', name), sum === undefined ? found[index] : add(sum, found[index]));
  });
  return graph;
}

const flatInputs = ['parameter', 'first', 'second', 'gradient'] as const;
const flatResults = ['new parameter', 'new first', 'new second'] as const;

function flatFeeds(tensors: readonly Tensor<'float32'>[]): Record<string, Tensor> {
  return Object.fromEntries(flatInputs.map((name, i) => [name, tensors[i]]));
}

/** The optimizer step of a block of any size, as a row of numbers; its gradient counts `factor` times. */
function blockUpdateGraph(optimizer: AdamWConfig, decays: boolean): Graph {
  const graph = new Graph('block update');
  const [parameter, first, second, gradient] = flatInputs.map((name) => graph.input(name, 'float32', ['N']));
  const scaled = mul(gradient, graph.input('factor', 'float32', []));
  const next = adamW(optimizer, declareAdamWInputs(graph), parameter, scaled, { first, second }, decays);
  [next.parameter, next.moments.first, next.moments.second].forEach((value, i) => {
    graph.output(flatResults[i], value);
  });
  return graph;
}
