import { describe, expect, it } from 'vitest';
import { offsetScaleRows, unitRows } from '../../../attention/kinds/gau/config.ts';
import { parseMixer } from '../../../attention/mixers.ts';
import { mixerPreset, takenOptions } from '../../../attention/presets.ts';
import { Random } from '../../../random.ts';
import { initializeParameters } from '../../initialize.ts';
import { linearize } from '../../linearization/linearize.ts';
import { nativeMixer, parseFlashConfig, unitMixer } from './config.ts';
import { flashModel } from './model.ts';

const json = { model_type: 'flash', vocab_size: 11, dim: 8, depth: 2, group_size: 4, query_key_dim: 6 };
const config = parseFlashConfig(json);

describe('the mixer of a unit', () => {
  it('is what the fields say', () => {
    expect(nativeMixer(config)).toMatchObject({ kind: 'gau', group: 4, local: { kernel: 'laplace' }, global: true });
    const square = nativeMixer(parseFlashConfig({ ...json, attention: 'square-original', trained_length: 32 }));
    expect(square).toMatchObject({ group: null, global: false, local: { divisor: 1024, biasDivisor: 32 } });
  });

  it.each([
    ['flash-local', { local: { kernel: 'laplace' }, global: false, convolution: null }],
    ['flash-global', { local: null, global: true }],
    ['flash', { local: { kernel: 'laplace' }, global: true }],
    ['local+conv', { local: { kernel: 'laplace' }, global: false, convolution: { kernel: 9, masked: true } }],
    ['augmented', { local: { kernel: 'laplace' }, global: true, convolution: { kernel: 9, masked: true } }],
  ])("is FLASH's own for %s", (name, fields) => {
    const mixer = unitMixer(config, mixerPreset(name, takenOptions(name, { group: 8, kernel: 9 })));
    expect(mixer).toMatchObject({ kind: 'gau', group: 8, ...fields });
  });

  it.each([
    parseMixer({ kind: 'linear', local: { kernel: 'softmax' } }),
    parseMixer({ kind: 'linear', local: { scale: 'learned' } }),
    parseMixer({ kind: 'linear', local: {}, normalize: 'together' }),
    mixerPreset('performer'),
    mixerPreset('softmax'),
  ])('stays what it is: %j', (mixer) => {
    expect(unitMixer(config, mixer)).toEqual(mixer);
  });

  it('decides the rows of γ and β', () => {
    const rows = (mixer: Parameters<typeof unitRows>[0]) => [offsetScaleRows(mixer), unitRows(mixer)];
    expect(rows(nativeMixer(config))).toEqual([4, { queries: [0, 2], keys: [2, 4] }]);
    const local = unitMixer(config, mixerPreset('local'));
    expect(rows(local)).toEqual([4, { queries: [0, 1], keys: [2, 3] }]);
    expect(rows(unitMixer(config, mixerPreset('global')))).toEqual([4, { queries: [1, 2], keys: [3, 4] }]);
    expect(rows(mixerPreset('relu'))).toEqual([2, { queries: [0, 1], keys: [1, 2] }]);
  });
});

describe('a model', () => {
  it('names mixers in its config.json only where they are not those of its fields', () => {
    const model = flashModel(json);
    expect(model.toJson()).toEqual(json);
    const other = model.withMixers([mixerPreset('relu'), model.mixers[1]]);
    expect(other.toJson()).toMatchObject({
      ...json,
      linnet: { version: 1, mixers: [{ kind: 'features' }, { kind: 'gau' }] },
    });
    expect(flashModel(other.toJson()).mixers).toEqual(other.mixers);
    expect(other.withMixers(model.mixers).toJson()).toEqual(json);
  });

  it('keeps γ and β when its mixers change: local rows out, both branches equal in', () => {
    const model = flashModel(json);
    const parameters = initializeParameters(model, new Random(1));
    const rows = (from: ReadonlyMap<string, { data: Float32Array }>): number[][] => {
      const data = [...(from.get('layers.1.qk_offset_scale.gamma')?.data ?? [])];
      return Array.from({ length: data.length / 6 }, (_, row) => data.slice(6 * row, 6 * row + 6));
    };
    const [localQuery, , localKey] = rows(parameters);
    const softmax = linearize(model, parameters, mixerPreset('softmax'));
    expect(rows(softmax.parameters)).toEqual([localQuery, localKey]);
    const back = linearize(softmax.model, softmax.parameters, mixerPreset('flash', { group: 4 }));
    expect(rows(back.parameters)).toEqual([localQuery, localQuery, localKey, localKey]);
  });

  it('refuses what it cannot open', () => {
    expect(() => flashModel({ ...json, causal: false })).toThrow(/only models that predict the next token/);
    const linnet = { version: 1, mixers: [{ kind: 'softmax' }] };
    expect(() => flashModel({ ...json, linnet })).toThrow(/names 1 layers, depth is 2/);
  });
});
