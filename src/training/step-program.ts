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
import { compileSegmentedGradients, type SegmentedGradients } from './segmented-gradients.ts';
import { microBatchRows, type TrainingSettings } from './settings.ts';

/** Everything an optimizer step changes, by block name. */
export interface TrainingState {
  parameters: WeightMap;
  first: WeightMap;
  second: WeightMap;
}

export interface StepResult {
  /** Mean objective per weighted prediction, before the optimizer step; nats if it is −log p. */
  readonly loss: number;
  /** Joint norm of all gradients, before clipping. */
  readonly gradientNorm: number;
}

/** The model to train, its loss and settings. */
export interface StepJob {
  /** Names and shapes of all parameters. */
  readonly model: Pick<ModelDescription, 'parameters'>;
  /** The loss. */
  readonly objective: Objective;
  /** Where training starts. Not written to. */
  readonly parameters: Weights;
  /** Frozen parameters outside `parameters`, read layer by layer; gradients are then computed layer by layer too. */
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
  /** Whether programs keep frozen parameters, on a device with its own memory. Default: read in place. */
  readonly keepFrozen?: boolean;
  /** Largest block in bytes; see parameter-blocks.ts. */
  readonly blockBytes?: number;
  /** Bytes of trained parameters that one graph may update. Default: 64 MiB. */
  readonly fusedBytes?: number;
}

const usualFusedBytes = 2 ** 26;

export const stateParts = ['parameters', 'first', 'second'] as const;
/** Prefixes of input names for each part of the state and for gradient sums. */
const prefixes = { parameters: '', first: 'm ', second: 'v ', sum: 'sum ' } as const;

/** Names of outputs: inputs and outputs of a graph must differ. */
function updated(part: keyof typeof prefixes, name: string): string {
  return `new ${prefixes[part]}${name}`;
}

/** An optimizer step over the micro-batches of a batch. @param weight sum over all their predictions */
type Step = (
  state: TrainingState,
  batches: readonly BatchTensors[],
  weight: number,
  learningRate: number,
  update: number,
) => Promise<StepResult>;

/** Loss and gradients of all micro-batches, the gradients by block. */
type Gradients = (...[state, batches, weight]: Parameters<Step>) => Promise<{ loss: number; sums: WeightMap }>;

/** Runs optimizer steps. Dispose of it. */
export type TrainingProgram = Awaited<ReturnType<typeof compileTraining>>;

/** An objective's inputs (a data set may give more), and the total weight. */
export function batchInputs({ inputs }: Objective, batch: BatchTensors, weight: number): Record<string, Tensor> {
  const given = Object.keys(inputs).map((name) => [name, batch[name]] as const);
  return { ...Object.fromEntries(given), total_weight: float32([], [weight]) };
}

/** Builds and compiles the graphs, in Node or in a page. @throws LinnetError `CONFIG` if nothing is trainable */
export async function compileTraining(job: ProgramJob, compile: GraphCompiler) {
  const { settings, objective, weights, rateFactor } = job;
  const { graph, blocks, fused } = microBatchGraph(job);
  const opened: AsyncDisposable[] = [];
  const dispose = async (): Promise<void> => {
    for (const program of opened) await program[Symbol.asyncDispose]();
  };
  const compiled = async (part: Graph): Promise<Program> => {
    const program = await compile(part);
    opened.push(program);
    return program;
  };

  /** `batchInputs` plus frozen parameters. */
  function batchFeeds(program: Program, batch: BatchTensors, weight: number): Record<string, Tensor> {
    return { ...onlyInputs(program, Object.fromEntries(job.parameters)), ...batchInputs(objective, batch, weight) };
  }

  const inOneGraph = (program: Program): Step => {
    const fetch = blocks.flatMap(({ name }) => stateParts.map((part) => updated(part, name)));
    return async (state, [batch], weight, learningRate, update) => {
      const feeds = {
        ...batchFeeds(program, batch, weight),
        ...adamWFeeds(settings, learningRate, update),
        ...stateFeeds(state, blocks),
      };
      const results = await program.run(feeds, ['loss', 'gradient_norm', ...fetch]);
      for (const part of stateParts) {
        state[part] = new Map(blocks.map(({ name }) => [name, asFloat32(results[updated(part, name)])]));
      }
      return { loss: scalar(results.loss), gradientNorm: scalar(results.gradient_norm) };
    };
  };

  const bySegments =
    (program: SegmentedGradients): Gradients =>
    async (state, batches, weight) => {
      const parameters = stateFeeds(state, blocks, ['parameters']);
      const { loss, gradients } = await program.gradients(
        batches.map((batch) => ({ ...batchInputs(objective, batch, weight), ...parameters })),
      );
      const sums = blocks.map(({ name, shape }) => [name, gradients.get(name) ?? zeros('float32', shape)] as const);
      return { loss, sums: new Map(sums) };
    };

  const byMicroBatches =
    (program: Program): Gradients =>
    async (state, batches, weight) => {
      let sums = new Map<string, Tensor<'float32'>>();
      if (batches.length > 1) for (const { name, shape } of blocks) sums.set(name, zeros('float32', shape));
      let loss = 0;
      for (const batch of batches) {
        const feeds = { ...batchFeeds(program, batch, weight), ...stateFeeds(state, blocks, ['parameters']) };
        for (const [name, sum] of sums) feeds[prefixes.sum + name] = sum;
        const results = await program.run(feeds, ['loss', ...blocks.map(({ name }) => updated('sum', name))]);
        sums = new Map(blocks.map(({ name }) => [name, asFloat32(results[updated('sum', name)])]));
        loss += scalar(results.loss);
      }
      return { loss, sums };
    };

  /** @param updates optimizer steps for blocks with weight decay (true) and without */
  const byBlocks =
    (gradients: Gradients, updates: ReadonlyMap<boolean, Program>): Step =>
    async (state, batches, weight, learningRate, update) => {
      const { loss, sums } = await gradients(state, batches, weight, learningRate, update);
      let squares = 0;
      for (const { data } of sums.values()) for (const x of data) squares += x * x;
      const gradientNorm = Math.sqrt(squares);
      const factor = settings.clip === 0 ? 1 : Math.min(1, settings.clip / (gradientNorm + 1e-6));
      const [parameters, first, second] = [state.parameters, state.first, state.second].map((part) => new Map(part));
      Object.assign(state, { parameters, first, second });
      for (const block of blocks) {
        const { name, parameter, shape } = block;
        const flat = (tensors: Weights): Tensor<'float32'> => {
          const { data } = given(tensors, name);
          return tensor('float32', [data.length], data);
        };
        const rate = learningRate * (rateFactor?.(parameter) ?? 1);
        const flats = [parameters, first, second, sums].map(flat);
        const feeds = Object.fromEntries(flatInputs.map((input, i) => [input, flats[i]]));
        sums.delete(name);
        const results = await updates
          .get(isDecayed(job, block))
          ?.run({ ...adamWFeeds(settings, rate, update), ...feeds, factor: float32([], [factor]) }, flatResults);
        if (results === undefined) throw internalError(`no program updates block "${name}"`);
        [parameters, first, second].forEach((part, i) => {
          part.set(name, { ...asFloat32(results[flatResults[i]]), shape });
        });
      }
      return { loss, gradientNorm };
    };

  async function compiledByBlocks(): Promise<Step> {
    let gradients: Gradients;
    if (weights === undefined) gradients = byMicroBatches(await compiled(graph));
    else {
      const names = new Set(blocks.map(({ name }) => name));
      const program = await compileSegmentedGradients(graph, names, weights, compile);
      opened.push(program);
      gradients = bySegments(program);
    }
    const updates = new Map<boolean, Program>();
    for (const decays of new Set(blocks.map((block) => isDecayed(job, block)))) {
      updates.set(decays, await compiled(blockUpdateGraph(settings, decays)));
    }
    return byBlocks(gradients, updates);
  }

  try {
    const step = fused ? inOneGraph(await compiled(graph)) : await compiledByBlocks();
    return {
      blocks,
      /**
       * One optimizer step. Replaces the state's maps without writing to their tensors.
       * @param batches the micro-batches of a batch, by input name; the loss is the mean over all their weighted predictions
       * @param update counted from 0, for the bias correction
       */
      async step(
        state: TrainingState,
        batches: readonly BatchTensors[],
        learningRate: number,
        update: number,
      ): Promise<StepResult> {
        const count = microBatches(settings);
        if (batches.length === count) return await step(state, batches, totalWeight(batches), learningRate, update);
        throw new LinnetError('CONFIG', `an update needs ${count} micro-batches, got ${batches.length}`);
      },
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** A micro-batch's graph, the whole step if `fused`. @throws LinnetError `CONFIG` if nothing is trainable */
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

/** Micro-batches per optimizer step; a single one is fused with the step into one graph. */
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
 * A graph that outputs a micro-batch's loss: its sum divided by the whole update's weight, so that micro-batch losses
 * add up.
 * @returns also the blocks' inputs, in their order
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

/** The loss alone, for held-out data; divided by `total_weight` as in training. */
export function lossGraph(job: ProgramJob, blocks: readonly ParameterBlock[]): Graph {
  return beginGraph('held-out loss', job, blocks).graph;
}

/** A micro-batch's loss and gradients, added to the sums so far if there are several. */
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

/** The optimizer step for a block of any size, flattened; its gradient is multiplied by `factor`. */
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
