import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { byteTokenizer } from '../../tokenizer/bytes.ts';
import { huggingFaceTokenizer } from '../../tokenizer/hugging-face.ts';
import { trainBpe } from '../../tokenizer/train-bpe.ts';
import { Int32Buffer } from '../rows/int32-buffer.ts';
import type { PackingOptions } from './packed-rows.ts';
import { type PackedDataset, packDocuments } from './packing.ts';

const bytes = byteTokenizer();
const bos = 256;
const eos = 257;

function pack(texts: readonly string[], options: PackingOptions): Promise<PackedDataset> {
  return packDocuments(
    texts.map((text) => ({ text })),
    bytes,
    options,
  );
}

function rows(dataset: PackedDataset) {
  return Array.from({ length: dataset.rows }, (_, index) => {
    const { inputs, labels, weights } = dataset.row(index);
    return { inputs: [...inputs], labels: [...labels], weights: [...weights] };
  });
}

describe('packDocuments', () => {
  it('cuts a stream of documents into rows', async () => {
    const dataset = await pack(['ab', 'cde'], { length: 3 });
    expect([...dataset.tokens]).toEqual([bos, 97, 98, bos, 99, 100, 101]);
    expect(rows(dataset)).toEqual([
      { inputs: [bos, 97, 98], labels: [97, 98, bos], weights: [1, 1, 1] },
      { inputs: [bos, 99, 100], labels: [99, 100, 101], weights: [1, 1, 1] },
    ]);
  });

  it('drops or pads an incomplete last row', async () => {
    const dropped = await pack(['abcd'], { length: 3 });
    expect(dropped.rows).toBe(1);
    const padded = await pack(['abcd'], { length: 3, remainder: 'pad' });
    expect(rows(padded)[1]).toEqual({ inputs: [99, eos, eos], labels: [100, eos, eos], weights: [1, 0, 0] });
    expect(padded.predictedTokens).toBe(4);
  });

  it('gives every document a row of its own in mode document', async () => {
    const dataset = await pack(['ab', '', 'cdefg'], { length: 3, mode: 'document' });
    expect(rows(dataset)).toEqual([
      { inputs: [bos, 97, eos], labels: [97, 98, eos], weights: [1, 1, 0] },
      { inputs: [bos, 99, 100], labels: [99, 100, 101], weights: [1, 1, 1] },
    ]);
    expect(dataset).toMatchObject({ documents: 3, predictedTokens: 5 });
    expect(dataset.tokens).toHaveLength(8); // what lies beyond a row is not kept
  });

  it('sets documents apart with EOS, or with nothing, where the tokenizer has no BOS', async () => {
    const tokenizerJson = { ...trainBpe([], { vocabularySize: 258 }).tokenizerJson, post_processor: null };
    const documents = [{ text: 'ab' }, { text: 'c' }];
    const specialAt = async (tokenizerConfigJson: Record<string, unknown>): Promise<number[]> => {
      const tokenizer = huggingFaceTokenizer({ tokenizerJson, tokenizerConfigJson });
      const { tokens } = await packDocuments(documents, tokenizer, { length: 2 });
      return [...tokens].map((id) => (tokenizer.specialIds.has(id) ? id : -1));
    };
    expect(await specialAt({ eos_token: '</s>' })).toEqual([-1, -1, 1, -1, 1]);
    expect(await specialAt({})).toEqual([-1, -1, -1]);
  });

  it('predicts every token of a stream exactly once', async () => {
    const texts = fc.array(fc.string({ maxLength: 9 }), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(texts, fc.integer({ min: 1, max: 7 }), async (documents, length) => {
        const stream = documents.flatMap((text) => [...bytes.encode(text, { bos: true })]);
        fc.pre(stream.length > 1);
        const packed = rows(await pack(documents, { length, remainder: 'pad' }));
        const real = (key: 'inputs' | 'labels') =>
          packed.flatMap((row) => row[key].filter((_, i) => row.weights[i] === 1));
        expect(real('labels')).toEqual(stream.slice(1));
        expect(real('inputs')).toEqual(stream.slice(0, -1));
      }),
      { seed: 12 },
    );
  });

  it('takes documents as they come and reports progress', async () => {
    async function* documents() {
      yield { text: 'ab' };
      yield { text: 'cd' };
    }
    const seen: unknown[] = [];
    await packDocuments(documents(), bytes, { length: 2, onProgress: (progress) => seen.push(progress) });
    expect(seen).toEqual([
      { documents: 1, tokens: 3 },
      { documents: 2, tokens: 6 },
    ]);
  });

  it('refuses too little text and impossible lengths', async () => {
    const refusal: unknown = expect.objectContaining({ code: 'INPUT' });
    await expect(pack(['ab'], { length: 3 })).rejects.toEqual(refusal);
    await expect(pack([], { length: 3, remainder: 'pad' })).rejects.toEqual(refusal);
    await expect(pack([''], { length: 3, mode: 'document' })).rejects.toEqual(refusal);
    for (const length of [0, -1, 1.5]) await expect(pack(['abc'], { length })).rejects.toEqual(refusal);
  });
});

describe('fingerprint', () => {
  it('tells data sets apart that differ in tokens, rows or padding', async () => {
    const variants = await Promise.all([
      pack(['abcdef'], { length: 2 }),
      pack(['abcdeg'], { length: 2 }),
      pack(['abcdef'], { length: 3 }),
      pack(['abc', 'ef'], { length: 2 }),
      pack(['abcdef'], { length: 2, mode: 'document' }),
    ]);
    const prints = variants.map((dataset) => dataset.fingerprint());
    expect(new Set(prints).size).toBe(variants.length);
    expect((await pack(['abcdef'], { length: 2 })).fingerprint()).toBe(prints[0]);
    expect(prints[0]).toBe('cd74a9aa74fca3675e1d08bf7318d544238d207251f15116a5634adb978b3e5a');
  });
});

describe('Int32Buffer', () => {
  it('grows and keeps what it holds', () => {
    const buffer = new Int32Buffer();
    const values = Array.from({ length: 5000 }, (_, index) => index * 3);
    for (let start = 0; start < values.length; start += 700) buffer.append(values.slice(start, start + 700));
    expect([...buffer.toArray()]).toEqual(values);
  });
});
