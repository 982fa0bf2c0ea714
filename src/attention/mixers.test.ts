/** Mixers as they are configured: schemas, presets, descriptions, learned parameters. */
import { describe, expect, it } from 'vitest';
import { convolutionReach } from './convolution-config.ts';
import { featuresSchema } from './kinds/features/maps.ts';
import { linearSchema } from './kinds/linear/config.ts';
import { windowSchema } from './kinds/window/config.ts';
import { OptionsError } from '../errors.ts';
import type { MixerConfig } from './mixer.ts';
import { describeMixer, isCausal, mixerParameters, parseMixer, withoutBranch } from './mixers.ts';
import { mixerPreset, mixerPresetNames, mixerPresetReading, type PresetOptions, takenOptions } from './presets.ts';

const linear = (fields: object): MixerConfig => parseMixer({ kind: 'linear', ...fields });

describe('parseMixer', () => {
  it('fills in the defaults and keeps what is given', () => {
    expect(linear({ local: {}, global: {}, convolution: {} })).toEqual({
      kind: 'linear',
      group: 64,
      local: { kernel: 'relu2', scale: 'none' },
      global: { scale: 'learned' },
      convolution: { kernel: 63, masked: true },
      normalize: null,
      castling: false,
    });
    const full = linear({ group: 1, local: { kernel: 'softmax', scale: 'learned' }, normalize: 'together' });
    expect(parseMixer(JSON.parse(JSON.stringify(full)))).toEqual(full);
    expect(parseMixer({ kind: 'softmax' })).toEqual({ kind: 'softmax' });
  });

  it.each([
    ['no branch', {}, /at least one branch/],
    ['an even kernel', { local: {}, convolution: { kernel: 4 } }, /odd/],
    ['a negative kernel', { local: {}, convolution: { kernel: -1 } }, /convolution\.kernel/],
    ['a group of 0', { local: {}, group: 0 }, /group/],
    ['a large group', { local: {}, group: 65537 }, /65536/],
    ['a fractional group', { local: {}, group: 1.5 }, /group/],
    ['castling alone', { local: {}, castling: true }, /add convolution/],
    ['normalizing a branch that is not there', { local: {}, normalize: 'global' }, /needs a global branch/],
    ['normalizing a local branch that is not there', { global: {}, normalize: 'local' }, /needs a local branch/],
    ['normalizing softmax', { local: { kernel: 'softmax' }, normalize: 'local' }, /sum to one already/],
    ['normalizing nothing', { convolution: {}, normalize: 'together' }, /needs a local or a global branch/],
    ['an unknown kernel', { local: { kernel: 'laplace' } }, /local\.kernel/],
    ['an unknown field', { local: {}, groups: 4 }, /groups/],
  ])('refuses %s', (_, fields, message) => {
    expect(() => linear(fields)).toThrow(message);
    expect(() => linear(fields)).toThrow(expect.objectContaining({ code: 'CONFIG' }));
  });

  it.each([[undefined], [null], ['softmax'], [{}], [{ kind: 'cosformer' }], [{ kind: 'softmax', group: 4 }]])(
    'refuses %o',
    (value) => {
      expect(() => parseMixer(value)).toThrow(/invalid mixer configuration/);
    },
  );
});

describe('presets', () => {
  it('have the branches their names say', () => {
    const branches = mixerPresetNames().map((name) => {
      const config = mixerPreset(name, takenOptions(name, { group: 16, kernel: 9 }));
      const features = featuresSchema.safeParse(config);
      if (features.success) return [name, features.data.map.name, features.data.output, features.data.group];
      const window = windowSchema.safeParse(config);
      if (window.success) return [name, window.data.memory?.map.name ?? null, window.data.sinks > 0, window.data.group];
      const linear = linearSchema.safeParse(config);
      if (!linear.success) return [name, config.kind];
      const { group, local, global, convolution } = linear.data;
      expect(group).toBe(16);
      return [name, local?.kernel ?? null, global?.scale ?? null, convolution?.kernel ?? null];
    });
    expect(branches).toEqual([
      ['softmax', 'softmax'],
      ['window', 'balanced', true, 16],
      ['window+sinks', null, true, 16],
      ['sliding-window', null, false, 16],
      ['local', 'relu2', null, null],
      ['global', null, 'one', null],
      ['local+global', 'relu2', 'learned', null],
      ['local+conv', 'relu2', null, 9],
      ['augmented', 'relu2', 'learned', 9],
      ['flash-local', 'relu2', null, null],
      ['flash-global', null, 'one', null],
      ['flash', 'relu2', 'learned', null],
      ['relu', 'relu', 'ratio', 16],
      ['performer', 'performer', 'ratio', 16],
      ['transnormer', 'elu', 'rms', 16],
      ['rfa', 'rfa', 'ratio', 16],
      ['hedgehog', 'hedgehog', 'ratio', 16],
      ['gated', 'gated'],
      ['lightning', 'gated'],
      ['gated-delta', 'gated-delta'],
      ['delta', 'gated-delta'],
      ['linformer', 'block-linformer'],
      ['linformer-bidirectional', 'linformer'],
      ['yoso', 'yoso'],
      ['yoso-hashed', 'hashes', 'unit', 16],
    ]);
  });

  it("have the paper's sizes by default", () => {
    expect(mixerPreset('augmented')).toMatchObject({ group: 64, convolution: { kernel: 63, masked: true } });
  });

  it('fade next to a local branch; files without the field, and fade 1, mean the sum', () => {
    const globals = ['augmented', 'local+global', 'flash', 'global'].map(
      (name) => linearSchema.parse(mixerPreset(name)).global,
    );
    const learned = { scale: 'learned', fade: 0.5 };
    expect(globals).toEqual([learned, learned, learned, { scale: 'one' }]);
    const summed = mixerPreset('augmented', { fade: 1 });
    expect(JSON.stringify(summed)).toBe(JSON.stringify(linear({ local: {}, global: {}, convolution: {} })));
    expect(() => mixerPreset('augmented', { fade: 0 })).toThrow(OptionsError);
  });

  it.each(['augment', '', 'toString', '__proto__'])("refuses '%s', listing the names", (name) => {
    expect(() => mixerPreset(name)).toThrow(
      /presets are softmax, .*local, global, local\+global, local\+conv, augmented/,
    );
  });

  it('checks its options', () => {
    expect(() => mixerPreset('augmented', { kernel: 8 })).toThrow(/odd/);
    expect(() => mixerPreset('yoso-hashed', { hashes: 1024, bits: 16 })).toThrow(/at most 65536 features/);
    expect(() => mixerPreset('linformer-bidirectional', { length: 5 })).toThrow(/length/);
    expect(() => mixerPreset('linformer', { rows: 9, block: 8 })).toThrow(/more rows than it has positions/);
  });

  it.each<[string, PresetOptions, string]>([
    ['softmax', { convolution: true }, 'the mixer softmax does not take `convolution`; it takes no options'],
    ['relu', { castling: true }, 'does not take `castling`; it takes `group`, `convolution`, `kernel`, `unmasked`'],
    ['yoso', { group: 8 }, 'does not take `group`'],
    ['augmented', { features: 8 }, 'does not take `features`'],
    ['local', { memory: 'none' }, 'does not take `memory`'],
  ])('refuses options of other presets: %s, %j', (name, options, message) => {
    const refused = () => mixerPreset(name, options);
    expect(refused).toThrow(message);
    expect(refused).toThrow(OptionsError);
    expect(mixerPreset(name, takenOptions(name, options))).toEqual(mixerPreset(name));
  });

  it('takes what switches off a thing that the preset does not have, and a convolution that it has anyway', () => {
    expect(mixerPreset('relu', { castling: undefined, unmasked: false })).toEqual(mixerPreset('relu'));
    expect(mixerPreset('augmented', { convolution: true })).toEqual(mixerPreset('augmented'));
  });

  it('takes options of either form where a model reads the past and whole texts', () => {
    const sizes = { rows: 4, block: 8, length: 128 };
    const either = (reads: 'past' | 'whole') => mixerPresetReading(reads, 'linformer', sizes, ['past', 'whole']);
    expect(either('past')).toEqual(mixerPreset('linformer', { rows: 4, block: 8 }));
    expect(either('whole')).toEqual(mixerPreset('linformer-bidirectional', { rows: 4, length: 128 }));
    expect(() => mixerPresetReading('past', 'linformer', sizes)).toThrow('linformer does not take `length`');
    expect(() => mixerPresetReading('whole', 'linformer', sizes)).toThrow('does not take `block`');
  });
});

describe('the table of mixers', () => {
  it.each([
    [mixerPreset('softmax'), 'softmax attention'],
    [mixerPreset('augmented'), 'local relu² + α·global fading by 0.5 + convolution 63, G = 64'],
    [mixerPreset('global', { group: 8 }), 'global, G = 8'],
    [mixerPreset('performer', { features: 32 }), 'performer 32, G = 64'],
    [mixerPreset('transnormer', { convolution: true, kernel: 9 }), '1+elu with rms norm + convolution 9, G = 64'],
    [mixerPreset('yoso-hashed', { hashes: 4, bits: 2 }), 'yoso 4 hashes of 2 bits of unit length, G = 64'],
    [mixerPreset('yoso', { convolution: true }), 'yoso expectation of 8 bits + convolution 63'],
    [mixerPreset('linformer', { rows: 4, block: 32 }), 'linformer 4 rows per block of 32'],
    [mixerPreset('linformer-bidirectional', { rows: 8, length: 256 }), 'bidirectional linformer 8 of 256'],
    [linear({ convolution: { kernel: 9, masked: false } }), 'unmasked convolution 9'],
    [
      linear({ local: { kernel: 'softmax', scale: 'learned' }, global: {}, normalize: 'global' }),
      'λ·local softmax + α·normalized global, G = 64',
    ],
    [
      linear({ local: { scale: 'learned' }, global: {}, normalize: 'local' }),
      'λ·normalized local relu² + α·global, G = 64',
    ],
    [
      linear({ local: {}, global: {}, convolution: {}, normalize: 'together', castling: true }),
      'castling (normalized (local relu² + α·global)) + convolution 63, G = 64',
    ],
  ])('describes %o', (config, text) => {
    expect(describeMixer(config)).toBe(text);
  });

  it('lists the learned parameters', () => {
    const counts = { heads: 8, keyValueHeads: 2, headWidth: 4 };
    expect(mixerParameters(mixerPreset('softmax'), counts)).toEqual([]);
    expect(mixerParameters(mixerPreset('global'), counts)).toEqual([]);
    expect(mixerParameters(linear({ local: { scale: 'learned' }, global: {}, convolution: {} }), counts)).toEqual([
      { name: 'local_factor', shape: [1], init: 'ones' },
      { name: 'global_factor', shape: [1], init: 'zeros' },
      { name: 'dwconv.weight', shape: [8, 1, 63, 1], init: 'zeros' },
    ]);
    expect(mixerParameters(mixerPreset('hedgehog', { convolution: true, kernel: 9 }), counts)).toEqual([
      { name: 'feature_map_q.weight', shape: [8, 4, 4], init: 'identity' },
      { name: 'feature_map_k.weight', shape: [2, 4, 4], init: 'identity' },
      { name: 'dwconv.weight', shape: [8, 1, 9, 1], init: 'zeros' },
    ]);
    expect(mixerParameters(mixerPreset('linformer'), counts)).toEqual([
      { name: 'linformer_k.weight', shape: [8, 64], init: 'averages' },
      { name: 'linformer_v.weight', shape: [8, 64], init: 'averages' },
    ]);
    expect(mixerParameters(mixerPreset('linformer-bidirectional', { rows: 8, length: 256 }), counts)).toEqual([
      { name: 'linformer_k.weight', shape: [8, 256], init: 'averages' },
      { name: 'linformer_v.weight', shape: [8, 256], init: 'averages' },
    ]);
    expect(mixerParameters(mixerPreset('performer'), counts)).toEqual([]);
  });

  it('normalizes what is left without a branch as before, where that is still there', () => {
    const left = (normalize: string, branch: 'memory' | 'window') =>
      withoutBranch(linear({ local: {}, global: {}, convolution: {}, normalize }), branch);
    expect(left('local', 'memory')).toMatchObject({ global: null, normalize: 'local' });
    expect(left('local', 'window')).toMatchObject({ local: null, normalize: null });
    expect(left('global', 'memory')).toMatchObject({ global: null, normalize: null });
    expect(left('global', 'window')).toMatchObject({ local: null, normalize: 'global' });
  });

  it('switches the convolution off in every kind that has one, where something is left', () => {
    const performer = mixerPreset('performer', { convolution: true });
    expect(withoutBranch(performer, 'convolution')).toEqual({ ...performer, convolution: null });
    expect(withoutBranch(mixerPreset('performer'), 'convolution')).toBeUndefined();
    const alone = parseMixer({ kind: 'gau', local: null, global: false, castling: false, convolution: {} });
    expect(withoutBranch(alone, 'convolution')).toBeUndefined();
  });

  it('knows which mixers read the future', () => {
    expect(mixerPresetNames().filter((name) => !isCausal(mixerPreset(name)))).toEqual(['linformer-bidirectional']);
    expect(isCausal(linear({ convolution: { masked: false } }))).toBe(false);
    expect(isCausal(linear({ convolution: { kernel: 1, masked: false } }))).toBe(true);
    expect(convolutionReach(63)).toBe(31);
  });
});
