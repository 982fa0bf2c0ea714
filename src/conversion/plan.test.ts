import { describe, expect, it } from 'vitest';
import { tinyLlama } from '../../test/models/tiny-llama.ts';
import { chooseMixer, stateOfLayers } from './plan.ts';
import { layersToKeep } from './sensitivity.ts';

const model = tinyLlama([{ kind: 'softmax' }, { kind: 'softmax' }, { kind: 'softmax' }]);

describe('chooseMixer', () => {
  it('takes groups of 64 where nothing is said', () => {
    expect(chooseMixer(model, {}, 3)).toMatchObject({ kind: 'window', group: 64, window: 2, sinks: 4 });
  });

  it('takes the widest window whose state fits, to the byte', () => {
    const bytes = stateOfLayers(model, chooseMixer(model, {}, 3), 3);
    expect(chooseMixer(model, { stateBytes: bytes }, 3)).toMatchObject({ group: 64 });
    expect(chooseMixer(model, { stateBytes: bytes - 1 }, 3)).toMatchObject({ group: 32 });
    expect(chooseMixer(model, { stateBytes: bytes }, 1)).toMatchObject({ group: 128 });
  });

  it('takes a group in place of a state, and leaves memory and sinks out if told', () => {
    expect(chooseMixer(model, { group: 20 }, 3)).toMatchObject({ group: 20, memory: { decay: 'learned' } });
    expect(chooseMixer(model, { memory: 'none' }, 3)).toMatchObject({ group: 64, memory: null });
    const bytes = stateOfLayers(model, chooseMixer(model, { group: 32 }, 3), 3);
    expect(chooseMixer(model, { sinks: 0 }, 3)).toMatchObject({ group: 64, sinks: 0 });
    const plain = chooseMixer(model, { memory: 'none', stateBytes: bytes }, 3);
    expect(plain).toMatchObject({ group: 32 });
    expect(stateOfLayers(model, plain, 3)).toBeLessThan(bytes);
  });

  it('refuses a state that holds no window, and says what would do', () => {
    expect(() => chooseMixer(model, { stateBytes: 100 }, 3)).toThrow(
      /a state of 100 B is too small for 3 layers; give at least [\d.]+ KiB/,
    );
  });
});

describe('layersToKeep', () => {
  const costs = [0.1, 0.5, 0.2, 0.4].map((textLoss, layer) => ({
    layer,
    textLoss,
    perplexity: 1,
    recallLoss: layer === 0 ? 0.35 : 0,
  }));

  it('keeps what loses most in text and recall together, in order', () => {
    expect(layersToKeep(costs, 2)).toEqual([0, 1]);
    expect(layersToKeep(costs, 0)).toEqual([]);
    expect(layersToKeep(costs, 3)).toEqual([0, 1, 3]);
  });

  it('leaves at least one layer to convert', () => {
    expect(() => layersToKeep(costs, 4)).toThrow(/leaves none to convert/);
  });
});
