import { describe, expect, it } from 'vitest';
import { fitsEncoders } from '../../attention/mixers.ts';
import { mixerPreset, mixerPresetNames, takenOptions } from '../../attention/presets.ts';
import { float32 } from '../../graph/tensor.ts';
import { bertModel } from '../../models/families/bert/model.ts';
import { initializeParameters } from '../../models/initialize.ts';
import type { EncoderModel } from '../../models/model.ts';
import { Random } from '../../random.ts';
import { checkModel } from './check.ts';
import { checkTests } from './rows.ts';

const sizes = { group: 8, kernel: 9, hashes: 4, bits: 3, rows: 4, length: 128 };

function encoder(...names: string[]): EncoderModel {
  return bertModel({
    model_type: 'bert',
    vocab_size: 41,
    hidden_size: 32,
    intermediate_size: 48,
    num_hidden_layers: names.length,
    num_attention_heads: 4,
    max_position_embeddings: 64,
  }).withMixers(
    names.map((name) => mixerPreset(name, { ...takenOptions(name, sizes), convolution: name !== 'softmax' })),
  );
}

const random = (model: EncoderModel) => initializeParameters(model, new Random(3), 0.2);

/** All presets that encoders can have; some have two names. */
const presets = mixerPresetNames().filter((name) => !name.startsWith('flash') && fitsEncoders(mixerPreset(name)));

describe('the check of an encoder', () => {
  it.each(presets)('passes %s', async (name) => {
    const model = encoder(name, name);
    const report = await checkModel(model, random(model), { maximumLength: 40 });
    expect(report.rows.filter(({ ok }) => !ok)).toEqual([]);
    expect(report).toMatchObject({ leak: false, ok: true });
    expect(report.maxError).toBeGreaterThan(0);
    expect(report.rows.map(({ subject, test }) => [subject, test])).toEqual([
      ['layers 0–1', checkTests.wholeText],
      ['layers 0–1', checkTests.paddedPositions],
      ['model', checkTests.paddedText],
      ['model', checkTests.paddedTextRandom],
    ]);
  });

  it('looks at different mixers one by one, within the positions there are', async () => {
    const model = encoder('softmax', 'augmented', 'softmax');
    const report = await checkModel(model, random(model));
    expect(report.ok).toBe(true);
    expect([...new Set(report.rows.map(({ subject }) => subject))]).toEqual(['layers 0, 2', 'layer 1', 'model']);
    expect(Math.max(...report.rows.map(({ length }) => length))).toBeLessThanOrEqual(64);
  });

  it('fails one that reads padding', async () => {
    const model = encoder('softmax');
    const careless: EncoderModel = {
      ...model,
      encode(source, { tokens, mask }) {
        const shape = mask.shape.map(Number);
        const all = float32(shape, new Float32Array(shape[0] * shape[1]).fill(1));
        return model.encode(source, { tokens, mask: source.graph.constant(all) });
      },
    };
    const report = await checkModel(careless, random(model), { maximumLength: 40 });
    expect(report).toMatchObject({ leak: true, ok: false });
    expect(report.rows.filter(({ ok }) => !ok).map(({ subject }) => subject)).toEqual(['model', 'model']);
  });

  it('fails one with numbers that are none', async () => {
    const model = encoder('softmax');
    const parameters = random(model);
    const name = 'bert.encoder.layer.0.attention.self.value.bias';
    parameters.set(name, float32([32], new Float32Array(32).fill(Number.NaN)));
    expect(await checkModel(model, parameters, { maximumLength: 40 })).toMatchObject({ ok: false });
  });
});
