import { describe, expect, it } from 'vitest';
import { randomParameters, randomTokens, tinyLlama } from '../../../test/models/tiny-llama.ts';
import { stateBytes } from '../../attention/mixers.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import { graphCost } from '../../graph/cost.ts';
import { gradients } from '../../graph/gradients.ts';
import { Graph } from '../../graph/graph.ts';
import { matmul, sum } from '../../graph/ops/contraction.ts';
import { add } from '../../graph/ops/elementwise.ts';
import { Random } from '../../random.ts';
import { parseTrainingSettings } from '../../training/settings.ts';
import { parameterBlocks } from '../../training/parameter-blocks.ts';
import { causalObjective } from '../../training/objectives/next-token.ts';
import { fusedGraph } from '../../training/step-program.ts';
import { decodingSpeed, fillState } from './decoding-speed.ts';
import { timingOf, time } from './timing.ts';

const G = 8;
const augmented = mixerPreset('augmented', { group: G, kernel: 9 });
const softmax = mixerPreset('softmax');
const threads = { threads: 1 };

describe('timing', () => {
  it('gives the middle and both ends', () => {
    expect(timingOf([5, 1, 9, 2, 3])).toEqual({ medianMs: 3, minMs: 1, maxMs: 9, runs: 5 });
    expect(timingOf([10, 9, 100])).toEqual({ medianMs: 10, minMs: 9, maxMs: 100, runs: 3 });
  });

  it('leaves warm-up runs out', async () => {
    let calls = 0;
    const timing = await time(() => Promise.resolve(calls++), { runs: 3, warmup: 2 });
    expect(calls).toBe(5);
    expect(timing.runs).toBe(3);
  });
});

/** Operations of products of matrices. */
const productFlops = (graph: Graph): number => graphCost(graph).operations;

describe('products', () => {
  it('counts two operations per multiply-add of the live products', () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [5, 2, 3]);
    const w = graph.input('w', 'float32', [3, 4]);
    const y = matmul(x, w); // 5 · 2·3·4 multiply-adds
    const scores = matmul(y, y, { transposeB: true }); // 5 · 2·4·2
    matmul(w, w, { transposeA: true }); // dead
    graph.output('y', add(sum(scores), 1));
    expect(productFlops(graph)).toBe(2 * (5 * 2 * 3 * 4 + 5 * 2 * 4 * 2));
  });

  it('counts gradients: twice the product forward', () => {
    const graph = new Graph();
    const x = graph.input('x', 'float32', [6, 3]);
    const w = graph.input('w', 'float32', [4, 3]);
    const product = matmul(x, w, { transposeB: true });
    const [dx, dw] = gradients(sum(matmul(product, product, { transposeA: true })), [x, w]);
    graph.output('dx', dx);
    graph.output('dw', dw);
    // product, and its two gradients; the gradient of the 4 × 4 Gram matrix in both of its uses.
    expect(productFlops(graph)).toBe(2 * (3 * (6 * 3 * 4) + 2 * (6 * 4 * 4)));
  });

  it('of a training step is six per weight and token, and what the mixers take', () => {
    const model = tinyLlama([augmented]);
    const [rows, length] = [2, 2 * G];
    const objective = causalObjective(model, length);
    const settings = parseTrainingSettings({ batch: rows, length });
    const job = { model, objective, parameters: new Map(), settings };
    const flops = productFlops(fusedGraph(job, parameterBlocks(model.parameters)));
    const matrices = [...model.parameters].filter(([name, { shape }]) => shape.length === 2 && !name.includes('embed'));
    const weights = matrices.reduce((total, [, { shape }]) => total + shape[0] * shape[1], 0);
    expect(flops).toBeGreaterThan(6 * weights * rows * length);
    expect(flops).toBeLessThan(9 * weights * rows * length);
  });
});

/** Which position lies in which slot, by layout; empty slots left out. */
function occupied(state: SequenceState): Record<string, [slot: number, position: number][]> {
  return Object.fromEntries(
    state.layout.slotLayouts.map(({ name, index }) => [
      name,
      Array.from(state.positions[index], (position, slot): [number, number] => [slot, position]).filter(
        ([, at]) => at >= 0,
      ),
    ]),
  );
}

describe('fillState', () => {
  const model = tinyLlama([augmented, softmax, mixerPreset('local', { group: 5 })]);

  it.each([1, G - 1, G, G + 1, 3 * G + 5, 300])('leaves the slots as reading %i tokens does', async (context) => {
    await using engine = await DecodingEngine.create(model, randomParameters(model, 1), threads);
    const read = engine.newState();
    await engine.prefill(read, randomTokens(model, context, 2));
    const filled = engine.newState();
    fillState(filled, context, new Random(1));
    expect(filled.length).toBe(read.length);
    expect(occupied(filled)).toEqual(occupied(read));
    // The engine goes on from it as from any state.
    const { logits } = await engine.advance(filled, 3);
    expect(logits.every(Number.isFinite)).toBe(true);
    await engine.advance(read, 3);
    expect(occupied(filled)).toEqual(occupied(read));
  });
});

describe('decodingSpeed', () => {
  it.each([
    ['augmented', augmented],
    ['softmax', softmax],
  ] as const)('of %s tells times and memory at every context', async (name, mixer) => {
    const model = tinyLlama([mixer, mixer]);
    const contexts = [16, 1024, 4096];
    const progress: number[] = [];
    await using engine = await DecodingEngine.create(model, randomParameters(model, 1), threads);
    const speeds = await decodingSpeed(engine, {
      contexts,
      steps: 4,
      rounds: 2,
      onProgress: (done, total) => progress.push(done / total),
    });
    expect(speeds.map(({ context }) => context)).toEqual(contexts);
    expect(progress.at(-1)).toBe(1);
    expect(progress).toHaveLength(6);
    for (const { timing, tokensPerSecond } of speeds) {
      expect(timing.runs).toBe(4);
      expect(tokensPerSecond).toBeCloseTo(1000 / timing.medianMs, 9);
    }
    const bytes = speeds.map(({ stateBytes: held }) => held);
    if (name === 'augmented') {
      const sizes = { heads: 4, keyValueHeads: 2, headWidth: 8 };
      expect(new Set(bytes)).toEqual(new Set([2 * stateBytes(augmented, sizes)]));
    } else {
      // Keys and values of 2 layers, 2 heads of width 8, 4 bytes each; caches grow in steps of 64.
      expect(bytes).toEqual([64, 1024, 4096].map((held) => held * 2 * 2 * 2 * 8 * 4));
    }
  });

  it('stops on request', async () => {
    const model = tinyLlama([augmented]);
    await using engine = await DecodingEngine.create(model, randomParameters(model, 1), threads);
    const stopped = decodingSpeed(engine, { contexts: [16], signal: AbortSignal.abort() });
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
  });

  it('tells the size of the step graph', async () => {
    const model = tinyLlama([augmented]);
    await using engine = await DecodingEngine.create(model, randomParameters(model, 1), threads);
    const { nodes, modelBytes, creationMs } = engine.program.statistics;
    const weights = [...model.parameters.values()].reduce(
      (total, { shape }) => total + shape.reduce((a, b) => a * b, 1),
      0,
    );
    expect(modelBytes).toBeGreaterThan(4 * weights);
    expect(nodes).toBeGreaterThan(20);
    expect(creationMs).toBeGreaterThan(0);
  });
});
