/** Speed of a whole training step (forward, gradients, clipping, AdamW) against the machine's peak matrix-multiplication throughput. */
import { LinnetError } from '../../errors.ts';
import { type Graph, liveNodes } from '../../graph/graph.ts';
import { type Tensor, tensor } from '../../graph/tensor.ts';
import { initializeParameters } from '../../models/initialize.ts';
import type { CausalModel } from '../../models/model.ts';
import { Random } from '../../random.ts';
import { compile, type CompileOptions } from '../../runtime/compile.ts';
import { adamWDefaults } from '../../training/adamw.ts';
import { causalObjective } from '../../training/objectives/next-token.ts';
import { parameterBlocks } from '../../training/parameter-blocks.ts';
import { fusedGraph, initialState, TrainingProgram, type TrainingState } from '../../training/step-program.ts';
import { ceilingSize, productSpeed } from './peak-throughput.ts';
import { median, timingOf, type Timing } from './timing.ts';

export interface TrainingSpeed {
  readonly timing: Timing;
  readonly tokensPerSecond: number;
  /** Operations of all matrix products of the step, counted on the graph. */
  readonly productFlops: number;
  /** `productFlops` over the step's whole time. */
  readonly gigaflops: number;
  /** The peak matrix-multiplication throughput, measured between the steps. */
  readonly ceilingGigaflops: number;
  /** gigaflops / ceiling. */
  readonly shareOfCeiling: number;
  /** How much of the step the part takes that `without` lacks; null if there is no such model. */
  readonly partShare: number | null;
  readonly compileMs: number;
}

/** Operations of the matrix products in the live part of a graph of static shapes. */
export function productFlops(graph: Graph): number {
  let total = 0;
  for (const node of liveNodes(graph.outputs.values())) {
    if (node.op !== 'matmul') continue;
    const [, b] = node.inputs;
    const [output] = node.outputs;
    const elements = output.shape.reduce<number>((count, dim) => count * Number(dim), 1);
    const columns = Number(output.shape[output.rank - 1]);
    // The second operand's matrix has the inner dimension next to the output's columns, transposed or not.
    const inner = (Number(b.shape[b.rank - 1]) * Number(b.shape[b.rank - 2])) / columns;
    total += 2 * elements * inner;
  }
  return total;
}

/** Size and number of the timed steps. */
export interface TrainingSpeedOptions {
  /** Sequences per step. */
  readonly rows: number;
  /** Tokens per sequence. */
  readonly length: number;
  /** Timed steps. Default 7. */
  readonly runs?: number;
  /** The model without one of its parts, whose share of the step is measured in turn with it. */
  readonly without?: CausalModel;
  readonly compile?: CompileOptions;
  /** Looked at between steps, and between compiling and the first of them. */
  readonly signal?: AbortSignal;
}

/**
 * Times training steps on random tokens, taking turns with the ceiling product, so that a machine whose speed drifts
 * is compared with itself.
 * @throws LinnetError `ABORTED` by the signal
 */
export async function trainingSpeed(model: CausalModel, options: TrainingSpeedOptions): Promise<TrainingSpeed> {
  const { rows, length, runs = 7, without, compile, signal } = options;
  const step = await TimedStep.create(model, options);
  let lesser: TimedStep | undefined;
  try {
    throwIfStopped(signal);
    if (without !== undefined) lesser = await TimedStep.create(without, options);
    const steps: number[] = [];
    const lesserSteps: number[] = [];
    const ceilings: number[] = [];
    for (let i = 0; i < runs + 2; i++) {
      throwIfStopped(signal);
      // In turn the one and the other goes first, since a step leaves the memory in another state.
      const others = i % 2 === 0 ? await lesser?.run(i) : undefined;
      throwIfStopped(signal);
      const milliseconds = await step.run(i);
      throwIfStopped(signal);
      const lesserMilliseconds = others ?? (await lesser?.run(i));
      if (i < 2) continue;
      steps.push(milliseconds);
      if (lesserMilliseconds !== undefined) lesserSteps.push(lesserMilliseconds);
      ceilings.push((await productSpeed(ceilingSize, { ...compile, runs: 3 })).gigaflops);
    }
    const timing = timingOf(steps);
    const ceilingGigaflops = median(ceilings);
    const gigaflops = step.flops / timing.medianMs / 1e6;
    return {
      timing,
      tokensPerSecond: (1000 * rows * length) / timing.medianMs,
      productFlops: step.flops,
      gigaflops,
      ceilingGigaflops,
      shareOfCeiling: gigaflops / ceilingGigaflops,
      partShare: lesser === undefined ? null : 1 - median(lesserSteps.map((ms, i) => ms / steps[i])),
      compileMs: step.compileMs,
    };
  } finally {
    await step.dispose();
    await lesser?.dispose();
  }
}

function throwIfStopped(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new LinnetError('ABORTED', 'stopped while timing training steps');
}

/** A compiled training step with random weights and one batch of random tokens. */
class TimedStep {
  readonly flops: number;
  readonly compileMs: number;
  readonly #program: TrainingProgram;
  readonly #state: TrainingState;
  readonly #batch: Readonly<Record<'inputs' | 'labels' | 'weights', Tensor>>;

  private constructor(
    program: TrainingProgram,
    model: CausalModel,
    { rows, length }: TrainingSpeedOptions,
    measured: { readonly flops: number; readonly compileMs: number },
  ) {
    this.#program = program;
    this.flops = measured.flops;
    this.compileMs = measured.compileMs;
    this.#state = initialState(program.blocks, initializeParameters(model, new Random(1)));
    const random = new Random(2);
    const tokens = (): Int32Array =>
      Int32Array.from({ length: rows * length }, () => random.integer(model.sizes.vocabulary));
    this.#batch = {
      inputs: tensor('int32', [rows, length], tokens()),
      labels: tensor('int32', [rows, length], tokens()),
      weights: tensor('float32', [rows, length], new Float32Array(rows * length).fill(1)),
    };
  }

  static async create(model: CausalModel, options: TrainingSpeedOptions): Promise<TimedStep> {
    const { rows, length } = options;
    const { parameters } = model;
    const objective = causalObjective(model, length);
    const training = { parameters, objective, rows, accumulate: 1, optimizer: adamWDefaults, clip: 1 };
    const flops = productFlops(fusedGraph(training, parameterBlocks(parameters)));
    const started = performance.now();
    const program = await TrainingProgram.create({ ...training, compile: (graph) => compile(graph, options.compile) });
    return new TimedStep(program, model, options, { flops, compileMs: performance.now() - started });
  }

  /** Milliseconds of one optimizer step. */
  async run(update: number): Promise<number> {
    const started = performance.now();
    await this.#program.step(this.#state, [this.#batch], 1e-4, update);
    return performance.now() - started;
  }

  dispose(): Promise<void> {
    return this.#program.dispose();
  }
}
