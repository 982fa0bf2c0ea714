/** The steps that are compiled for devices whose graphs do without open and replayed rows: logits of a tree, as with them. */
import { expect, it } from 'vitest';
import { threeGroups, tinyGranite } from '../../test/models/tiny-granite.ts';
import { randomParameters, randomTokens, tinyLlama } from '../../test/models/tiny-llama.ts';
import { between, sixStates, tinyQwen35 } from '../../test/models/tiny-qwen35.ts';
import { mixerPreset } from '../attention/presets.ts';
import { TokenTree } from '../attention/tree.ts';
import type { Graph } from '../graph/graph.ts';
import type { CausalModel } from '../models/model.ts';
import { WeightParameters } from '../nn/parameters.ts';
import { compile } from '../runtime/compile.ts';
import type { Program } from '../runtime/program.ts';
import { compileDecoding } from './compile-decoding.ts';
import { DecodingEngine } from './engine.ts';
import { StepEngine } from './step-engine.ts';

const models: Readonly<Record<string, CausalModel>> = {
  'a window with a memory': tinyLlama([
    mixerPreset('window', { group: 4, decay: 'fixed' }),
    mixerPreset('augmented', { group: 8 }),
  ]),
  decays: tinyLlama([mixerPreset('gated', { group: 4 })]),
  'delta rules': tinyLlama([
    mixerPreset('delta', { group: 4 }),
    mixerPreset('gated-delta', { group: 8, convolution: true, kernel: 9 }),
  ]),
  'Mamba-2': tinyGranite(between(threeGroups, { kind: 'softmax' })),
  'delta nets': tinyQwen35(between(sixStates, { kind: 'softmax' })),
};
it.each(Object.keys(models))('reads %s without open or replayed rows', async (name) => {
  const model = models[name];
  const parameters = randomParameters(model, 5);
  const closed = (graph: Graph): Promise<Program> => compile(graph, { threads: 1 });
  const source = (graph: Graph): WeightParameters => new WeightParameters(graph, parameters);
  await using without = new StepEngine(...(await compileDecoding(model, source, closed, 'webgpu')));
  await using engine = await DecodingEngine.create(model, parameters, { threads: 1 });
  const tree = new TokenTree([-1, 0, 0, 1, 3, 4, 5, 2]);
  const read = async (reader: StepEngine): Promise<readonly Float32Array[]> => {
    const state = reader.newState();
    await reader.prefill(state, randomTokens(model, 23, 1), { chunk: 7 });
    const tokens = randomTokens(model, tree.size, 2);
    const [{ logits }] = await reader.step([{ state, tree, tokens, wanted: tree.leaves() }]);
    return logits;
  };
  const [expected, actual] = [await read(engine), await read(without)];
  for (const [leaf, row] of actual.entries()) {
    for (const [at, x] of row.entries()) expect(x).toBeCloseTo(expected[leaf][at], 4);
  }
});
