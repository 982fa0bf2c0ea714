/** What layers remember: shapes and bytes of the states of all kinds of mixers. */
import { describe, expect, it } from 'vitest';
import { parseMixer, stateBytes, stateShape } from './mixers.ts';
import { mixerPreset, takenOptions } from './presets.ts';

/** One layer of LLaMA-2-7B. */
const llama7b = { heads: 32, keyValueHeads: 32, headWidth: 128 };
const MiB = 2 ** 20;

describe('stateShape', () => {
  it('holds the open group, the convolution window and S', () => {
    const dims = { heads: 8, keyValueHeads: 2, headWidth: 16 };
    expect(stateShape(mixerPreset('augmented'), dims)).toEqual({
      slots: 64,
      keyWidth: 16,
      valueWidth: 16,
      folded: { kind: 'sums', rows: 16, columns: 16, span: 64 },
    });
    expect(stateShape(mixerPreset('softmax'), dims)).toEqual({
      slots: 'growing',
      keyWidth: 16,
      valueWidth: 16,
      folded: null,
    });
  });

  it.each([
    ['a group longer than the window', { local: {}, group: 64, convolution: { kernel: 63 } }, 64, false],
    [
      'a window longer than the groups folded at once',
      { global: {}, group: 31, convolution: { kernel: 127 } },
      63,
      true,
    ],
    ['groups folded together', { local: {}, global: {}, group: 24, convolution: { kernel: 63 } }, 48, true],
    ['no convolution', { global: {}, group: 40 }, 40, true],
    ['a convolution alone', { convolution: { kernel: 9 } }, 4, false],
    ['one filter weight alone', { convolution: { kernel: 1 } }, 1, false],
  ])('%s', (_, fields, slots, sums) => {
    const shape = stateShape(parseMixer({ kind: 'linear', ...fields }), llama7b);
    expect(shape).toMatchObject({ slots, folded: sums ? { kind: 'sums', rows: 128, columns: 128 } : null });
  });

  it.each([
    ['relu', { conv: false }, [16, 17], 64],
    ['performer', { conv: false }, [40, 17], 64],
    ['rfa', { conv: false }, [80, 17], 64],
    ['hedgehog', { conv: true }, [32, 17], 64],
    ['transnormer', { conv: true }, [16, 16], 64],
    ['yoso-hashed', { conv: false }, [32, 16], 64],
  ])('%s: sums of features, and of weights where they are a ratio', (name, { conv }, [rows, columns], slots) => {
    const mixer = mixerPreset(name, { ...takenOptions(name, { features: 40, hashes: 4, bits: 3 }), convolution: conv });
    const dims = { heads: 8, keyValueHeads: 2, headWidth: 16 };
    expect(stateShape(mixer, dims)).toMatchObject({ slots, folded: { kind: 'sums', rows, columns } });
    expect(stateBytes(mixer, dims, 4)).toBe(4 * (2 * 2 * slots * 16 + 2 * rows * columns));
  });

  it("yoso's expectation grows as softmax does, with a convolution too", () => {
    const dims = { heads: 8, keyValueHeads: 2, headWidth: 16 };
    const mixer = mixerPreset('yoso', { convolution: true });
    expect(stateShape(mixer, dims)).toEqual({ slots: 'growing', keyWidth: 16, valueWidth: 16, folded: null });
    expect(stateBytes(mixer, dims, 4, 100)).toBe(4 * 2 * 2 * dims.headWidth * 100);
  });

  it('by blocks Linformer has a ring and a memory that grows a block at a time', () => {
    const dims = { heads: 8, keyValueHeads: 2, headWidth: 16 };
    const mixer = mixerPreset('linformer', { rows: 4, block: 32, convolution: true });
    expect(stateShape(mixer, dims)).toEqual({
      slots: 32,
      keyWidth: 16,
      valueWidth: 16,
      folded: { kind: 'rows', perGroup: 4, span: 32 },
    });
    const ring = 4 * 2 * 2 * 32 * 16;
    expect([0, 31, 32, 100].map((context) => stateBytes(mixer, dims, 4, context) - ring)).toEqual(
      [0, 0, 1, 3].map((blocks) => blocks * 4 * 2 * 2 * 4 * 16),
    );
    expect(() => stateBytes(mixer, dims)).toThrow(/give the context length/);
  });

  it('refuses a mixer that reads the future', () => {
    expect(() => stateShape(mixerPreset('linformer-bidirectional'), llama7b)).toThrow(/reads later positions/);
    const config = parseMixer({ kind: 'linear', local: {}, convolution: { masked: false } });
    expect(() => stateShape(config, llama7b)).toThrow(/reads later positions/);
  });

  it.each([
    { heads: 4, keyValueHeads: 3, headWidth: 8 },
    { heads: 4, keyValueHeads: 0, headWidth: 8 },
    { heads: 4, keyValueHeads: 4, headWidth: 0.5 },
  ])('refuses impossible sizes %o', (dims) => {
    expect(() => stateShape(mixerPreset('local'), dims)).toThrow(expect.objectContaining({ code: 'CONFIG' }));
  });
});

describe('sizes', () => {
  it('S of LLaMA-2-7B is 32 MiB in float16, a key-value cache of 4096 positions 2 GiB', () => {
    const layers = 32;
    const rows = 2 * 32 * 64 * 128;
    expect(layers * (stateBytes(mixerPreset('augmented'), llama7b, 2) - 2 * rows)).toBe(32 * MiB);
    expect(layers * stateBytes(mixerPreset('softmax'), llama7b, 2, 4096)).toBe(2048 * MiB);
  });

  it('counts float32 unless told otherwise', () => {
    const dims = { heads: 4, keyValueHeads: 2, headWidth: 8 };
    const config = mixerPreset('augmented', { group: 16, kernel: 9 });
    expect(stateBytes(config, dims)).toBe(4 * (2 * 2 * 32 * 8 + 2 * 8 * 8));
    expect(stateBytes(mixerPreset('local', { group: 16 }), dims)).toBe(4 * 2 * 2 * 16 * 8);
    expect(stateBytes(mixerPreset('softmax'), dims, undefined, 10)).toBe(4 * 2 * 2 * 8 * 10);
  });

  it('a growing state needs the context; a constant one ignores it', () => {
    const dims = { heads: 4, keyValueHeads: 2, headWidth: 8 };
    expect(() => stateBytes(mixerPreset('softmax'), dims)).toThrow(/give the context length/);
    expect(stateBytes(mixerPreset('softmax'), dims, 4, 100)).toBe(4 * 2 * 2 * dims.headWidth * 100);
    expect(stateBytes(mixerPreset('augmented'), dims, 4, 100)).toBe(stateBytes(mixerPreset('augmented'), dims, 4, 1e6));
    expect(() => stateBytes(mixerPreset('softmax'), dims, 4, -1)).toThrow(/context length/);
  });
});
