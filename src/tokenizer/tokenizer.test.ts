import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { thirdParty } from '../../test/fixtures.ts';
import { suiteFolder } from '../../test/scratch-folder.ts';
import { tokenizerFileContents } from './byte-level.ts';
import { huggingFaceTokenizer } from './hugging-face.ts';
import { loadTokenizer, type Tokenizer } from './tokenizer.ts';
import { trainBpe } from './train-bpe.ts';

const stories = thirdParty('stories260k');
const tinyStories = thirdParty('text/tinystories.jsonl');

describe.skipIf(stories === undefined)('the LLaMA tokenizer of stories260k (skipped without the fixtures)', () => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await loadTokenizer(stories ?? '');
  });

  it('knows its size and special tokens', () => {
    expect(tokenizer.vocabularySize).toBe(512);
    expect([tokenizer.bosId, tokenizer.eosId, tokenizer.padId]).toEqual([1, 2, undefined]);
    expect([...tokenizer.specialIds].sort()).toEqual([0, 1, 2]);
  });

  it('decodes the reference generation and encodes it back to the same tokens', async () => {
    const reference: unknown = JSON.parse(await readFile(join(stories ?? '', 'expected-greedy.json'), 'utf8'));
    const ids = (reference as { greedy_ids: number[] }).greedy_ids;
    const text = tokenizer.decode(ids);
    expect(text.startsWith('Once upon a time, there was a little girl named Lily.')).toBe(true);
    expect([...tokenizer.encode(text, { bos: true })]).toEqual(ids);
  });

  it('marks the start of the text like a space, and takes only that one away again', () => {
    expect([...tokenizer.encode('Once')]).toEqual([...tokenizer.encode(' Once').subarray(1)]);
    for (const text of ['Once', ' Once', '   Once', 'a\nb', '\n', ' ']) {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
    expect(tokenizer.encode('')).toEqual(new Int32Array(0));
    expect(tokenizer.decode([])).toBe('');
  });

  it('falls back to bytes for characters outside the vocabulary', () => {
    expect([...tokenizer.encode('日')].slice(-3)).toEqual([0xe6 + 3, 0x97 + 3, 0xa5 + 3]);
    expect(tokenizer.decode(tokenizer.encode('日本 😀\ttab'))).toBe('日本 😀\ttab');
  });

  it.skipIf(tinyStories === undefined)('round-trips every document of TinyStories', async () => {
    const lines = (await readFile(tinyStories ?? '', 'utf8')).trim().split('\n');
    expect(lines).toHaveLength(130);
    let predicted = 0;
    for (const line of lines) {
      const { text } = JSON.parse(line) as { text: string };
      const ids = tokenizer.encode(text, { bos: true });
      expect(tokenizer.decode(ids)).toBe(text);
      predicted += Math.min(ids.length, 512) - 1;
    }
    expect(predicted).toBe(49760); // the count the reference perplexity is a mean over
  });

  it('round-trips arbitrary text', () => {
    // U+2581 is the tokenizer's own space mark, and the library drops a byte order mark among byte tokens.
    const text = fc.string({ unit: 'grapheme', maxLength: 40 }).filter((s) => !/[\u2581\ufeff]/.test(s));
    fc.assert(
      fc.property(text, (s) => {
        expect(tokenizer.decode(tokenizer.encode(s))).toBe(s);
      }),
      { seed: 1 },
    );
  });
});

const words = ['one two three </s> four five', 'one two <s>'];
const trained = trainBpe(words, { vocabularySize: 270 });

/** Model types whose vocabulary holds the special tokens as words, so that plain encoding would find them. */
const plain = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: { type: 'Fuse' } };
const added = [
  { id: 0, content: '<unk>', special: true },
  { id: 1, content: '</s>', special: true },
];
const pieces = ['<unk>', '</s>', '<', '/', 's', '>', 'a'];
const pieceIds = Object.fromEntries(pieces.map((piece, id) => [piece, id]));
const models: Record<string, Record<string, unknown>> = {
  'BPE with ignore_merges': { type: 'BPE', vocab: pieceIds, merges: [], unk_token: '<unk>', ignore_merges: true },
  Unigram: { type: 'Unigram', unk_id: 0, vocab: pieces.map((piece) => [piece, piece.length > 1 ? 0 : -10]) },
};

describe('special tokens', () => {
  it.each(Object.entries(models))('written in a text stay text: %s', (_, model) => {
    const tokenizer = huggingFaceTokenizer({
      tokenizerJson: { ...plain, added_tokens: added, model },
      tokenizerConfigJson: { eos_token: '</s>', unk_token: { content: '<unk>' } },
    });
    expect([...tokenizer.encode('</s>')]).toEqual([2, 3, 4, 5]);
    expect([...tokenizer.encode('a</s>a')]).toEqual([6, 2, 3, 4, 5, 6]);
    expect(tokenizer.decode([6, 1, 2, 3, 4, 5, 0, 6])).toBe('a</s>a');
    expect([...tokenizer.encode('é')]).toEqual([0]);
    expect(tokenizer.eosId).toBe(1);
  });

  it('that are not special stay whole', () => {
    const tokenizer = huggingFaceTokenizer({
      tokenizerJson: {
        ...plain,
        added_tokens: [...added, { id: 7, content: '<a>', special: false }],
        model: models['BPE with ignore_merges'],
      },
    });
    expect([...tokenizer.encode('a<a>')]).toEqual([6, 7]);
    expect(tokenizer.decode([6, 7])).toBe('a<a>');
    expect(tokenizer.vocabularySize).toBe(8);
  });

  it('take their ids from config.json only where tokenizer_config.json does not speak of them', () => {
    const ids = (tokenizerConfigJson: Record<string, unknown>, modelConfigJson: Record<string, unknown>) => {
      const { tokenizerJson } = trained;
      const { bosId, eosId } = huggingFaceTokenizer({ tokenizerJson, tokenizerConfigJson, modelConfigJson });
      return [bosId, eosId];
    };
    expect(ids({}, {})).toEqual([undefined, undefined]);
    expect(ids({}, { bos_token_id: 5, eos_token_id: [6, 7] })).toEqual([5, 6]);
    expect(ids({ bos_token: null, eos_token: '</s>' }, { bos_token_id: 5, eos_token_id: 6 })).toEqual([undefined, 1]);
    expect(ids({}, { bos_token_id: 270, eos_token_id: -1 })).toEqual([undefined, undefined]);
  });
});

describe('encode and decode', () => {
  const tokenizer = huggingFaceTokenizer(trained);

  it('refuse BOS where there is none, and ids that are none', () => {
    const without = huggingFaceTokenizer({ tokenizerJson: trained.tokenizerJson });
    expect(() => without.encode('one', { bos: true })).toThrow(expect.objectContaining({ code: 'INPUT' }));
    for (const id of [-1, 0.5, Number.NaN]) {
      expect(() => tokenizer.decode([id])).toThrow(expect.objectContaining({ code: 'INPUT' }));
    }
  });

  it('give nothing for ids that only pad the embedding', () => {
    expect(tokenizer.decode([...tokenizer.encode('one'), 100_000])).toBe('one');
  });

  it('replace lone surrogates', () => {
    expect(tokenizer.decode(tokenizer.encode('a\ud800b\udc00'))).toBe('a\ufffdb\ufffd');
  });
});

describe('loadTokenizer', () => {
  const folder = suiteFolder();

  const write = (name: string, contents: unknown) =>
    writeFile(join(folder, name), isRaw(contents) ? contents : JSON.stringify(contents));
  const isRaw = (contents: unknown): contents is string | Buffer =>
    typeof contents === 'string' || Buffer.isBuffer(contents);
  const failure = (code: string): unknown => expect.objectContaining({ code });

  it('reports a folder without a tokenizer', async () => {
    await expect(loadTokenizer(join(folder, 'nowhere'))).rejects.toEqual(failure('NOT_FOUND'));
  });

  it('loads what training wrote', async () => {
    const written = join(folder, 'written');
    await mkdir(written);
    for (const [name, contents] of tokenizerFileContents(trained)) await writeFile(join(written, name), contents);
    const tokenizer = await loadTokenizer(written);
    expect(tokenizer).toMatchObject({ vocabularySize: 265, bosId: 0, eosId: 1 });
    expect(tokenizer.encode('one two three')).toEqual(huggingFaceTokenizer(trained).encode('one two three'));
  });

  it('loads tokenizer.json alone', async () => {
    await write('tokenizer.json', trained.tokenizerJson);
    const tokenizer = await loadTokenizer(folder);
    expect(tokenizer.bosId).toBeUndefined();
    expect(tokenizer.decode(tokenizer.encode('one two'))).toBe('one two');
  });

  const malformed: [string, unknown][] = [
    ['truncated JSON', '{"model": '],
    ['not UTF-8', Buffer.from('{"a": "\xff"}', 'latin1')],
    ['an array', []],
    ['no model', {}],
    ['no vocabulary', { model: { type: 'BPE' } }],
    ['an empty vocabulary', { model: { type: 'BPE', vocab: {}, merges: [] } }],
    ['an id that is not an integer', { model: { type: 'BPE', vocab: { a: 0.5 }, merges: [] } }],
    ['an enormous id', { model: { type: 'BPE', vocab: { a: 4_000_000_000 }, merges: [] } }],
    ['no merges', { model: { type: 'BPE', vocab: { a: 0 } } }],
    ['an unknown decoder', { decoder: { type: 'Nonsense' }, model: { type: 'BPE', vocab: { a: 0 }, merges: [] } }],
    ['added tokens that are none', { added_tokens: [{ id: 1 }], model: { type: 'BPE', vocab: { a: 0 }, merges: [] } }],
    ['a pair that is none', { model: { type: 'Unigram', vocab: ['a'], unk_id: 0 } }],
  ];
  it.each(malformed)('refuses %s', async (_, contents) => {
    await write('tokenizer.json', contents);
    await expect(loadTokenizer(folder)).rejects.toEqual(failure('FORMAT'));
  });

  it('refuses a malformed tokenizer_config.json and a folder in place of a file', async () => {
    await write('tokenizer.json', trained.tokenizerJson);
    await write('tokenizer_config.json', 'null');
    await expect(loadTokenizer(folder)).rejects.toEqual(failure('FORMAT'));
    await rm(join(folder, 'tokenizer_config.json'));
    await mkdir(join(folder, 'tokenizer_config.json'));
    await expect(loadTokenizer(folder)).rejects.toEqual(failure('PATH'));
  });
});
