/** A tokenizer.json is somebody's program: it may not hang, fill memory, or give tokens that the model does not have. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { huggingFaceTokenizer } from '../../src/tokenizer/hugging-face.ts';
import { TimeLimitError, timeLimit } from '../../src/tokenizer/time-limit.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { refusal } from '../error-code.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { scratchFolder } from '../scratch-folder.ts';

const vocab = Object.fromEntries(['a', 'b', '!', ' '].map((token, id) => [token, id]));
const plain = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, added_tokens: [] };
const model = { type: 'BPE', vocab, merges: [] };

const replace = (pattern: object, content: string): object => ({ type: 'Replace', pattern, content });
const chain = (parts: readonly object[]): object => ({ type: 'Sequence', normalizers: parts });
const splitBy = (Regex: string): object => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false });

describe('patterns that backtrack without end', () => {
  it.each([
    ['pre_tokenizer', splitBy('^(a+)+$')],
    ['pre_tokenizer', { type: 'Sequence', pretokenizers: [{ type: 'Sequence', pretokenizers: [splitBy('(a|a)*$')] }] }],
    ['normalizer', replace({ Regex: '(a*)*!' }, 'b')],
  ])('end with an error: %s %j', (section, component) => {
    const limit = timeLimit();
    const tokenizer = huggingFaceTokenizer({
      tokenizerJson: { ...plain, [section]: component, model },
      timeLimit: (work) => limit(work, 200), // what it is given is more, for real texts on busy machines
    });
    expect(() => tokenizer.encode(`${'a'.repeat(40)}b`)).toThrow(refusal('FORMAT', 'takes too long'));
    expect([...tokenizer.encode('b')]).toEqual([1]);
  });

  it('are watched in the folder of a model, and familiar ones are not', async () => {
    const folder = join(await scratchFolder(), 'model');
    await saveTinyModel(folder);
    const limits: number[] = [];
    const watched = (component: object): void => {
      huggingFaceTokenizer({
        tokenizerJson: { ...plain, pre_tokenizer: component, model },
        timeLimit: (work, milliseconds) => {
          limits.push(milliseconds);
          return work();
        },
      }).encode('a'.repeat(1000));
    };
    watched(splitBy('a{3}'));
    watched(splitBy("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"));
    expect(limits).toEqual([2050]);
    await writeFile(
      join(folder, 'tokenizer.json'),
      JSON.stringify({ ...plain, pre_tokenizer: splitBy('a{3}'), model }),
    );
    expect([...(await loadTokenizer(folder)).encode('ab')]).toEqual([0, 1]);
  });
});

describe('models that work without end', () => {
  const grown = replace({ String: '' }, 'x'.repeat(63));
  const names = ['a', 'b', 'x'];
  const wordPiece = { type: 'WordPiece', vocab: { a: 0, b: 1, x: 2 }, unk_token: 'b', continuing_subword_prefix: '##' };
  const unigrams = { type: 'Unigram', unk_id: 0, vocab: names.map((name) => [name, -1]) };

  it.each([
    [{ ...wordPiece, max_input_chars_per_word: 1e9 }],
    [{ ...unigrams, vocab: Array.from({ length: 200 }, (_, i) => ['a'.repeat(i + 1), -1]) }],
  ])('are refused: %j', (endless) => {
    expect(() => huggingFaceTokenizer({ tokenizerJson: { ...plain, model: endless } })).toThrow(
      refusal('FORMAT', 'the model of tokenizer.json'),
    );
  });

  it.each([model, { ...wordPiece, max_input_chars_per_word: 256 }, unigrams])(
    'are watched where texts grow: %j',
    (grower) => {
      const limits: number[] = [];
      const tokenizer = huggingFaceTokenizer({
        tokenizerJson: { ...plain, normalizer: grown, model: { ...grower, unk_token: 'b' } },
        timeLimit: (work, milliseconds) => {
          limits.push(milliseconds);
          return work();
        },
      });
      expect(tokenizer.encode('a'.repeat(3000)).length).toBeGreaterThan(0);
      expect(limits).toEqual([2150]);
    },
  );

  it('have tokens for a long word', () => {
    const tokenizer = huggingFaceTokenizer({ tokenizerJson: { ...plain, model: unigrams } });
    expect(tokenizer.encode('ab'.repeat(200_000))).toHaveLength(400_000);
  });
});

it('a time limit ends work, and passes on results and errors', () => {
  const limit = timeLimit();
  expect(limit(() => 5, 1000)).toBe(5);
  expect(() =>
    limit(() => {
      throw new RangeError('mine');
    }, 1000),
  ).toThrow(RangeError);
  expect(() =>
    limit(() => {
      for (;;);
    }, 20),
  ).toThrow(TimeLimitError);
  expect(limit(() => limit(() => 'inside', 1000), 1000)).toBe('inside');
});

describe('components that make texts endless', () => {
  it.each([
    ['a chain of replacements', chain(Array.from({ length: 30 }, () => replace({ String: 'a' }, 'aa')))],
    ['a replacement of nothing', chain([replace({ String: '' }, 'x'.repeat(60)), replace({ Regex: '' }, 'xxx')])],
    ['a long replacement', replace({ String: 'a' }, 'x'.repeat(1000))],
    ['a replacement by what comes before', replace({ Regex: 'a' }, '$`')],
    ['a long prefix', { type: 'Prepend', prepend: 'x'.repeat(1e6) }],
    ['too many parts', chain(Array.from({ length: 100 }, () => ({ type: 'NFC' })))],
    ['a pattern of 20,000 characters', replace({ Regex: 'a'.repeat(20_000) }, '')],
  ])('are refused: %s', (_, normalizer) => {
    expect(() => huggingFaceTokenizer({ tokenizerJson: { ...plain, normalizer, model } })).toThrow(
      refusal('FORMAT', 'the normalizer of tokenizer.json'),
    );
  });

  it('say how long a pattern is', () => {
    const normalizer = replace({ Regex: 'a'.repeat(20_000) }, '');
    expect(() => huggingFaceTokenizer({ tokenizerJson: { ...plain, normalizer, model } })).toThrow(
      'a pattern of 20000 characters, expected at most 10000',
    );
  });

  it.each([0, -1, Number.NaN, '2'])('are refused: pieces of length %s', (length) => {
    const tokenizerJson = { ...plain, pre_tokenizer: { type: 'FixedLength', length }, model };
    expect(() => huggingFaceTokenizer({ tokenizerJson })).toThrow(expect.objectContaining({ code: 'FORMAT' }));
  });

  it('leave those of published tokenizers alone', () => {
    const normalizer = chain([
      { type: 'Prepend', prepend: '▁' },
      replace({ String: ' ' }, '▁'),
      replace({ String: '``' }, '"'),
      replace({ Regex: ' {2,}' }, '▁'),
    ]);
    const tokenizer = huggingFaceTokenizer({
      tokenizerJson: { ...plain, normalizer, model: { ...model, vocab: { ...vocab, '▁': 4 } } },
    });
    expect([...tokenizer.encode('a b')]).toEqual([4, 0, 4, 1]);
  });
});

describe('tokens that the model has no row for', () => {
  const modelConfigJson = { vocab_size: 4 };

  it.each([
    [true, { vocab_size: 4 }],
    [false, { vocab_size: 4 }],
    [true, { text_config: { vocab_size: 4 } }],
  ])('are left out where they were added, control token or not (%s, %j)', (special, config) => {
    const added = [{ id: 4, content: 'ab', special }];
    const tokenizerJson = { ...plain, added_tokens: added, model: { ...model, vocab: { ...vocab, ab: 4 } } };
    const tokenizer = huggingFaceTokenizer({ tokenizerJson, modelConfigJson: config });
    expect(tokenizer.vocabularySize).toBe(4);
    expect(tokenizer.withoutRow).toEqual(['ab']);
    expect([...tokenizer.encode('ab')]).toEqual([...tokenizer.encode('a'), ...tokenizer.encode('b')]);
    expect(tokenizer.specialIds.has(4)).toBe(false);
    expect(tokenizer.decode([4])).toBe('');
  });

  it('have no role', () => {
    const tokenizerJson = { ...plain, added_tokens: [{ id: 4, content: '<pad>', special: true }], model };
    const files = { tokenizerJson, tokenizerConfigJson: { pad_token: '<pad>' } };
    expect(huggingFaceTokenizer({ ...files, modelConfigJson }).padId).toBeUndefined();
    expect(huggingFaceTokenizer(files).padId).toBe(4);
  });

  it('are refused where texts are made of them', () => {
    const tokenizerJson = { ...plain, model: { ...model, vocab: { ...vocab, more: 4 } } };
    expect(() => huggingFaceTokenizer({ tokenizerJson, modelConfigJson })).toThrow(refusal('FORMAT', '"more"'));
  });
});
