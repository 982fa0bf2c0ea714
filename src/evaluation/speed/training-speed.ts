/** Speed of a whole training step (forward, gradients, clipping, AdamW) against the machine's product ceiling. */
import { type Graph, liveNodes } from '../../graph/graph.ts';
import { tensor } from '../../graph/tensor.ts';
import { initializeParameters } from '../../models/initialize.ts';
import type { CausalModel } from '../../models/model.ts';
import { Random } from '../../random.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { adamWDefaults } from '../../training/adamw.ts';
import { causalObjective } from '../../training/objective.ts';
import { parameterBlocks } from '../../training/parameter-blocks.ts';
import { fusedGraph, initialState, TrainingProgram } from '../../training/step-program.ts';
import { ceilingSize, productSpeed } from './product-ceiling.ts';
import { median, summarize, type Timing } from './timing.ts';

export interface TrainingSpeed {
  readonly timing: Timing;
  readonly tokensPerSecond: number;
  /** Operations of all matrix products of the step, counted on the graph. */
  readonly productFlops: number;
  /** `productFlops` over the step's whole time. */
  readonly gigaflops: number;
  /** The product ceiling, measured between the steps. */
  readonly ceilingGigaflops: number;
  /** gigaflops / ceiling. */
  readonly shareOfCeiling: number;
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
    // The second operand's matrix has the inner dimension beside the output's columns, transposed or not.
    const inner = (Number(b.shape[b.rank - 1]) * Number(b.shape[b.rank - 2])) / columns;
    total += 2 * elements * inner;
  }
  return total;
}

/**
 * Times training steps on random tokens, taking turns with the ceiling product, so that a machine whose speed drifts
 * is compared with itself.
 */
export async function trainingSpeed(
  model: CausalModel,
  { rows, length, runs = 7, compile }: { rows: number; length: number; runs?: number; compile?: CompileOptions },
): Promise<TrainingSpeed> {
  const { parameters } = model;
  const objective = causalObjective(model, length);
  const options = { parameters, objective, rows, accumulate: 1, optimizer: adamWDefaults, clip: 1, compile };
  const flops = productFlops(fusedGraph(options, parameterBlocks(parameters)));
  const started = performance.now();
  const program = await TrainingProgram.create(options);
  const compileMs = performance.now() - started;
  try {
    const random = new Random(2);
    const state = initialState(program.blocks, initializeParameters(model, new Random(1)));
    const tokens = (): Int32Array =>
      Int32Array.from({ length: rows * length }, () => random.integer(model.sizes.vocabulary));
    const batch = {
      inputs: tensor('int32', [rows, length], tokens()),
      labels: tensor('int32', [rows, length], tokens()),
      weights: tensor('float32', [rows, length], new Float32Array(rows * length).fill(1)),
    };
    const steps: number[] = [];
    const ceilings: number[] = [];
    for (let i = 0; i < runs + 2; i++) {
      const before = performance.now();
      await program.step(state, [batch], 1e-4, i);
      if (i >= 2) steps.push(performance.now() - before);
      if (i >= 2) ceilings.push((await productSpeed(ceilingSize, { ...compile, runs: 3 })).gigaflops);
    }
    const timing = summarize(steps);
    const ceilingGigaflops = median(ceilings);
    const gigaflops = flops / timing.medianMs / 1e6;
    return {
      timing,
      tokensPerSecond: (1000 * rows * length) / timing.medianMs,
      productFlops: flops,
      gigaflops,
      ceilingGigaflops,
      shareOfCeiling: gigaflops / ceilingGigaflops,
      compileMs,
    };
  } finally {
    await program.dispose();
  }
}
