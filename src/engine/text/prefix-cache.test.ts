/** Beginnings of texts are found again, by whoever kept them, within a number of bytes. */
import { describe, expect, it } from 'vitest';
import { tinyLlama } from '../../../test/models/tiny-llama.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { SequenceState } from '../../decoding/state/sequence-state.ts';
import { modelLayout } from '../../models/graphs/model-layout.ts';
import { PrefixCache } from './prefix-cache.ts';

const model = tinyLlama([mixerPreset('augmented', { group: 6 })]);
const layout = modelLayout(model);

function stateOf(length: number): SequenceState {
  const state = new SequenceState(model, layout);
  state.length = length;
  return state;
}

const tokens = Array.from({ length: 40 }, (_, i) => i);
const { bytes } = stateOf(0);

describe('the prefix cache', () => {
  it('finds the longest beginning that is short enough, as a copy', () => {
    const cache = new PrefixCache(100 * bytes);
    const kept = stateOf(30);
    for (const state of [stateOf(5), stateOf(17), kept]) expect(cache.add('a', tokens, state)).toBe(true);
    expect(cache.find('a', tokens, 40)?.length).toBe(30);
    expect(cache.find('a', tokens, 40)).not.toBe(kept);
    expect(cache.find('a', tokens, 30)?.length).toBe(17);
    expect(cache.find('a', tokens, 5)).toBeUndefined();
    expect(cache.add('a', tokens, stateOf(17))).toBe(false);
  });

  it('takes no other text, and nothing of another salt, for it', () => {
    const cache = new PrefixCache(100 * bytes);
    cache.add('a', tokens, stateOf(5));
    cache.add('a', tokens, stateOf(20));
    expect(cache.find('a', [...tokens.slice(0, 10), 49, ...tokens.slice(11)], 40)?.length).toBe(5);
    expect(cache.find('a', [49, ...tokens.slice(1)], 40)).toBeUndefined();
    expect(cache.find('b', tokens, 40)).toBeUndefined();
  });

  it('keeps what was used last, within its bytes', () => {
    const cache = new PrefixCache(2 * bytes);
    cache.add('a', tokens, stateOf(3));
    cache.add('a', tokens, stateOf(6));
    expect(cache.find('a', tokens, 4)?.length).toBe(3);
    cache.add('a', tokens, stateOf(9));
    expect([cache.size, cache.bytes]).toEqual([2, 2 * bytes]);
    expect(cache.find('a', tokens, 9)?.length).toBe(3);
    expect(new PrefixCache(0).add('a', tokens, stateOf(3))).toBe(false);
  });
});
