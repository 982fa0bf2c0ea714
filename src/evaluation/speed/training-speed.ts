/** Speed of a whole training step (forward, gradients, clipping, AdamW) against the machine's peak matrix-multiplication throughput. */
import type { Stoppable } from '../../errors.ts';
import { type Graph, liveNodes } from '../../graph/graph.ts';
import { tensor } from '../../graph/tensor.ts';
import { initializeParameters } from '../../models/initialize.ts';
import type { CausalModel } from '../../models/model.ts';
import { Random } from '../../random.ts';
import { compile, type CompileOptions } from '../../runtime/compile.ts';
import { adamWDefaults } from '../../training/adamw.ts';
import { causalObjective } from '../../training/objectives/next-token.ts';
import { parameterBlocks } from '../../training/parameter-blocks.ts';
import { fusedGraph, initialState, TrainingProgram } from '../../training/step-program.ts';
import { ceilingSize, compileProduct, gigaflopsOf } from './peak-throughput.ts';
import { median, timeInTurns, timingOf, type Timing } from './timing.ts';

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
export interface TrainingSpeedOptions extends Stoppable {
  /** Sequences per step. */
  readonly rows: number;
  /** Tokens per sequence. */
  readonly length: number;
  /** Timed steps. Default 7. */
  readonly runs?: number;
  /** The model without one of its parts, whose share of the step is measured in turn with it. */
  readonly without?: CausalModel;
  readonly compile?: CompileOptions;
}

const untimedRounds = 2;

/**
 * Times training steps on random tokens, taking turns with the ceiling product.
 * @throws LinnetError `ABORTED` by the signal, between two steps
 */
export async function trainingSpeed(model: CausalModel, options: TrainingSpeedOptions): Promise<TrainingSpeed> {
  const { rows, length, runs = 7, without, compile, signal } = options;
  await using step = await compileStep(model, options);
  await using lesser = without && (await compileStep(without, options));
  await using product = await compileProduct(ceilingSize, compile);
  const warmProduct = async () => {
    for (let i = 0; i < 2; i++) await product.run();
    return product.run;
  };
  const cases = [() => step.run, warmProduct, ...(lesser ? [() => lesser.run] : [])];
  const samples = await timeInTurns(cases, { rounds: untimedRounds + runs, signal });
  const [steps, products, lesserSteps = []] = samples.map((all) => all.slice(untimedRounds));
  const timing = timingOf(steps);
  const ceilingGigaflops = gigaflopsOf(ceilingSize, median(products));
  const gigaflops = step.flops / timing.medianMs / 1e6;
  return {
    timing,
    tokensPerSecond: (1000 * rows * length) / timing.medianMs,
    productFlops: step.flops,
    gigaflops,
    ceilingGigaflops,
    shareOfCeiling: gigaflops / ceilingGigaflops,
    partShare: lesser ? 1 - median(lesserSteps.map((ms, i) => ms / steps[i])) : null,
    compileMs: step.compileMs,
  };
}

/** A compiled training step with random weights and one batch of random tokens. */
async function compileStep(model: CausalModel, { rows, length, compile: compiled }: TrainingSpeedOptions) {
  const { parameters } = model;
  const objective = causalObjective(model, length);
  const training = { parameters, objective, rows, accumulate: 1, optimizer: adamWDefaults, clip: 1 };
  const flops = productFlops(fusedGraph(training, parameterBlocks(parameters)));
  const started = performance.now();
  const program = await TrainingProgram.create({ ...training, compile: (graph) => compile(graph, compiled) });
  const compileMs = performance.now() - started;
  const state = initialState(program.blocks, initializeParameters(model, new Random(1)));
  const random = new Random(2);
  const shape = [rows, length];
  const tokens = () =>
    tensor(
      'int32',
      shape,
      Int32Array.from({ length: rows * length }, () => random.integer(model.sizes.vocabulary)),
    );
  const weights = tensor('float32', shape, new Float32Array(rows * length).fill(1));
  const batch = { inputs: tokens(), labels: tokens(), weights };
  let update = 0;
  return {
    ...{ flops, compileMs },
    run: () => program.step(state, [batch], 1e-4, update++),
    [Symbol.asyncDispose]: () => program.dispose(),
  };
}
