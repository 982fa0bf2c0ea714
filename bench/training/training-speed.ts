/** Speed of a whole training step (forward, gradients, clipping, AdamW) against the machine's peak matrix multiplication throughput. */
import type { Stoppable } from '../../src/errors.ts';
import { graphCost } from '../../src/graph/cost.ts';
import { float32, int32 } from '../../src/graph/tensor.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import type { CausalModel } from '../../src/models/model.ts';
import { Random } from '../../src/random.ts';
import { compile, type CompileOptions } from '../../src/runtime/compile.ts';
import { parseTrainingSettings } from '../../src/training/settings.ts';
import { causalObjective } from '../../src/training/objectives/next-token.ts';
import { parameterBlocks } from '../../src/training/parameter-blocks.ts';
import { fusedGraph, initialState, compileTraining } from '../../src/training/step-program.ts';
import { ceilingSize, compileProduct, gigaflopsOf } from './peak-throughput.ts';
import { median, timeInTurns, timingOf } from '../../src/evaluation/speed/timing.ts';

/** Size and number of the timed steps. */
export interface TrainingSpeedOptions extends Stoppable {
  /** Sequences per step. */
  readonly rows: number;
  /** Tokens per sequence. */
  readonly length: number;
  /** Timed steps. Default 7. */
  readonly runs?: number;
  /** The model without one part; both alternate to measure that part's share of the step. */
  readonly without?: CausalModel;
  readonly compile?: CompileOptions;
}

const untimedRounds = 2;

/**
 * Times training steps on random tokens, alternating with the ceiling product.
 * @throws LinnetError `ABORTED` on the signal, between two steps
 */
export async function trainingSpeed(model: CausalModel, options: TrainingSpeedOptions) {
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
    /** Operations in all matrix products of the step, counted on its graph. */
    productFlops: step.flops,
    /** `productFlops` over the step's whole time. */
    gigaflops,
    /** Peak matrix multiplication throughput, measured between the steps. */
    ceilingGigaflops,
    shareOfCeiling: gigaflops / ceilingGigaflops,
    /** Share of the step taken by the part missing in `without`; null without such a model. */
    partShare: lesser ? 1 - median(lesserSteps.map((ms, i) => ms / steps[i])) : null,
    compileMs: step.compileMs,
  };
}

/** A compiled training step with random weights and one batch of random tokens. */
async function compileStep(model: CausalModel, { rows, length, compile: compiled }: TrainingSpeedOptions) {
  const parameters = initializeParameters(model, new Random(1));
  const settings = parseTrainingSettings({ batch: rows, microBatch: rows, length });
  const training = { model, objective: causalObjective(model, length), parameters, settings };
  const flops = graphCost(fusedGraph(training, parameterBlocks(model.parameters))).operations;
  const started = performance.now();
  const program = await compileTraining(training, (graph) => compile(graph, compiled));
  const compileMs = performance.now() - started;
  const state = initialState(program.blocks, parameters);
  const random = new Random(2);
  const shape = [rows, length];
  const tokens = () => int32(shape, random.integers(rows * length, model.sizes.vocabulary));
  const weights = float32(shape, new Float32Array(rows * length).fill(1));
  const batch = { inputs: tokens(), labels: tokens(), weights };
  let update = 0;
  return {
    ...{ flops, compileMs },
    run: () => program.step(state, [batch], 1e-4, update++),
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}
