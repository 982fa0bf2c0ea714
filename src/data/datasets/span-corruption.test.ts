import { describe, expect, it } from 'vitest';
import { Random } from '../../random.ts';
import { byteTokenizer } from '../../tokenizer/bytes.ts';
import { spanCorruption } from './sequence-pairs.ts';
import { corruptedLength, corruptSpans, sentinelIds } from './span-corruption.ts';

describe('corruptSpans', () => {
  it.each([4, 5, 11, 24, 100, 511])('fills sources of %i tokens, and nothing is lost', (length) => {
    const { rowTokens, source, target, spans } = corruptedLength(length, true);
    expect(source).toBeLessThanOrEqual(length);
    expect(source).toBeGreaterThan(length - 3);
    const tokens = Int32Array.from({ length: rowTokens }, (_, i) => i);
    const sentinels = Array.from({ length: spans }, (_, i) => 10_000 - i);
    const corrupted = corruptSpans(tokens, sentinels, new Random(length));
    expect(corrupted.source).toHaveLength(source - 1);
    expect(corrupted.target).toHaveLength(target - 1);
    // Putting every span in the place of its sentinel gives the text again.
    const spanOf = new Map<number, number[]>();
    let current: number[] = [];
    for (const id of corrupted.target) {
      if (id > 9000) spanOf.set(id, (current = []));
      else current.push(id);
    }
    expect(corrupted.source.flatMap((id) => spanOf.get(id) ?? [id])).toEqual([...tokens]);
    const cut = rowTokens - (corrupted.source.length - spans);
    expect(cut).toBe(Math.max(1, Math.round(0.15 * rowTokens)));
    for (const span of spanOf.values()) expect(span.length).toBeGreaterThan(0);
  });
});

describe('spanCorruption', () => {
  const text = 'the linnet sings on the wire while the wind goes round the house. '.repeat(4);
  const options = { length: 60, startId: 256, seed: 1, sentinels: sentinelIds({}, 400) };
  const dataset = spanCorruption([{ text }], byteTokenizer(), options);

  it('gives the decoder its target, shifted, and draws anew in every pass but alike in the same one', () => {
    const visits = [{ row: 1, epoch: 0 }];
    const { inputs, labels, weights } = dataset.batch(visits);
    expect(inputs.data[0]).toBe(256);
    expect([...inputs.data.subarray(1)]).toEqual([...labels.data.subarray(0, -1)]);
    expect([...weights.data]).toEqual(new Array(labels.data.length).fill(1));
    expect(dataset.batch(visits)).toEqual(dataset.batch(visits));
    expect(dataset.batch([{ row: 1, epoch: 1 }]).source.data).not.toEqual(dataset.batch(visits).source.data);
  });

  it('takes sentinels by name, else from the end of the vocabulary', () => {
    expect(sentinelIds({}, 400).slice(0, 3)).toEqual([399, 398, 397]);
    const specialNames = new Map([
      ['<extra_id_0>', 300],
      ['<extra_id_1>', 299],
    ]);
    expect(sentinelIds({ specialNames }, 400)).toEqual([300, 299]);
    expect(() => spanCorruption([{ text }], byteTokenizer(), { ...options, sentinels: [] })).toThrow(/sentinels/);
  });
});
