/** Perplexity from weights in a folder, layer by layer: the numbers of the whole graph. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { suiteFolder } from '../../../test/scratch-folder.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { loadCausalModel, openCausalWeights, openModelWeights, saveModel } from '../../checkpoint/load-model.ts';
import { segmentWeights } from '../../checkpoint/stored-parameter.ts';
import { describeCausalModel, requireCausal } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { Random } from '../../random.ts';
import { SegmentedProgram } from '../../runtime/segmented-program.ts';
import { compileLosses, lossesMemory, readByLayers, tokenLosses } from './losses.ts';
import { perplexity } from './perplexity.ts';

const folder = suiteFolder();
const model = describeCausalModel({
  model_type: 'llama',
  vocab_size: 300,
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 6,
  num_attention_heads: 4,
  num_key_value_heads: 2,
});
const random = new Random(5);
const windows = [70, 64, 12, 129, 70].map((length) => ({
  tokens: Int32Array.from({ length }, () => random.integer(300)),
  scoredFrom: 1,
}));
const data = { windows, documents: 5 };

describe('perplexity layer by layer', () => {
  it.each(['F32', 'F16', 'BF16'] as const)('is that of the whole graph for weights in %s', async (dtype) => {
    const mixed = model.withMixers(
      model.mixers.map((_, layer) => (layer === 2 ? mixerPreset('window') : { kind: 'softmax' })),
    );
    const dir = join(folder, dtype);
    await saveModel(dir, { model: mixed, parameters: initializeParameters(mixed, new Random(2), 0.3) }, { dtype });
    const whole = await loadCausalModel(dir);
    await using weights = await openModelWeights(dir);
    const expected = await perplexity(whole.model, whole.parameters, data, { batchTokens: 128 });
    const layered = { batchTokens: 128, weights: segmentWeights(weights.parameters) };
    const found = await perplexity(requireCausal(weights.model), new Map(), data, layered);
    expect(Math.abs(found.nll - expected.nll)).toBeLessThanOrEqual(1e-6);
    expect(found.tokens).toBe(expected.tokens);
  });

  it('gives positions the losses of the whole graph', async () => {
    const dir = join(folder, 'positions');
    await saveModel(dir, { model, parameters: initializeParameters(model, new Random(2), 0.3) }, { dtype: 'F16' });
    const { parameters } = await loadCausalModel(dir);
    await using weights = await openCausalWeights(dir);
    const [whole, layers] = [await tokenLosses(model, parameters, windows), await readByLayers(weights, {})(windows)];
    layers.forEach(({ losses }, i) => {
      expect(losses).toHaveLength(windows[i].tokens.length - 1);
      losses.forEach((loss, at) => expect(Math.abs(loss - whole[i][at])).toBeLessThanOrEqual(1e-6 * Math.max(1, loss)));
    });
  });

  it('compiles one graph for each kind of layer', async () => {
    const dir = join(folder, 'kinds');
    await saveModel(dir, { model, parameters: initializeParameters(model, new Random(2), 0.3) }, { dtype: 'F16' });
    await using weights = await openModelWeights(dir);
    await using graphs = await compileLosses(model, windows.slice(0, 1), {
      weights: segmentWeights(weights.parameters),
    });
    const [program] = graphs.programs;
    expect(program instanceof SegmentedProgram && program.kinds).toBe(3); // embedding, layers, head
  });

  it('stops between layers, and refuses a parameter that is missing', async () => {
    const dir = join(folder, 'kinds');
    await using weights = await openModelWeights(dir);
    const inLayers = segmentWeights(weights.parameters);
    const stopped = perplexity(model, new Map(), data, { weights: inLayers, signal: AbortSignal.abort() });
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
    const lacking = new Map([...inLayers].filter(([name]) => name !== 'model.norm.weight'));
    await expect(perplexity(model, new Map(), data, { weights: lacking })).rejects.toThrow(
      '"model.norm.weight" is missing',
    );
  });

  it('takes less memory the more layers there are', async () => {
    const dir = join(folder, 'kinds');
    await using weights = await openModelWeights(dir);
    const { whole, layers } = lossesMemory(model, windows, segmentWeights(weights.parameters));
    expect(layers).toBeLessThan(whole);
  });
});
