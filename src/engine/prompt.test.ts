/**
 * Prompts as tokens. The ids are those that transformers gives for tokenizers of these classes, by its published rules: the
 * post-processor of tokenizer.json decides (`PreTrainedTokenizerFast`, `TokenizersBackend`); without one, `add_bos_token` and
 * `add_eos_token`; without these, the class: LlamaTokenizer and GemmaTokenizer begin with BOS, GPT2Tokenizer and
 * Qwen2Tokenizer with nothing, T5Tokenizer ends with EOS, BertTokenizer stands between CLS and SEP.
 */
import { describe, expect, it } from 'vitest';
import { errorCode } from '../../test/error-code.ts';
import type { JsonObject } from '../files/json-object.ts';
import { ChatTemplate } from '../tokenizer/chat-template.ts';
import { textTokens } from '../tokenizer/encode-text.ts';
import { huggingFaceTokenizer } from '../tokenizer/hugging-face.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { preparePrompt, type PromptReader } from './prompt.ts';

const ids = (names: readonly string[]): Record<string, number> =>
  Object.fromEntries(names.map((name, id) => [name, id]));
const special = (vocabulary: Record<string, number>, ...names: readonly string[]) =>
  names.map((content) => ({ id: vocabulary[content], content, special: true }));

/** GPT-2 and Qwen: bytes, a word with the blank before it. */
const bytes = ids(['a', 'b', 'Ġ', 'Ġb', '<|endoftext|>']);
const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
const byteLevelJson = {
  added_tokens: special(bytes, '<|endoftext|>'),
  normalizer: null,
  pre_tokenizer: byteLevel,
  post_processor: byteLevel,
  decoder: byteLevel,
  model: { type: 'BPE', vocab: bytes, merges: [['Ġ', 'b']] },
};

/** LLaMA and Mistral: a blank before every text, by the normalizer of the conversion that is called legacy. */
const pieces = ids(['<unk>', '<s>', '</s>', '▁', 'a', 'b', '▁a', '▁b']);
const merges = [
  ['▁', 'a'],
  ['▁', 'b'],
];
const replaced = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
const llamaJson = {
  added_tokens: special(pieces, '<unk>', '<s>', '</s>'),
  normalizer: { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, replaced] },
  pre_tokenizer: null,
  decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' },
  model: { type: 'BPE', vocab: pieces, merges, unk_token: '<unk>' },
};
/** The other conversion, in which only the beginning of a text gets the blank. */
const firstJson = {
  ...llamaJson,
  normalizer: null,
  pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false },
};

const t5Json = {
  added_tokens: [
    { id: 0, content: '<pad>', special: true },
    { id: 1, content: '</s>', special: true },
  ],
  pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' },
  decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' },
  model: {
    type: 'Unigram',
    unk_id: 2,
    vocab: ['<pad>', '</s>', '<unk>', '▁a', '▁b', 'a', 'b', '▁'].map((piece) => [piece, -piece.length]),
  },
};

const words = ids(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a', 'b']);
const bertJson = {
  added_tokens: special(words, '[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'),
  pre_tokenizer: { type: 'BertPreTokenizer' },
  decoder: { type: 'WordPiece', prefix: '##' },
  model: { type: 'WordPiece', vocab: words, unk_token: '[UNK]', continuing_subword_prefix: '##' },
};

const template = (...items: readonly string[]) => ({
  type: 'TemplateProcessing',
  single: items.map((id) =>
    id === 'A' ? { Sequence: { id: 'A', type_id: 0 } } : { SpecialToken: { id, type_id: 0 } },
  ),
});

const gpt2 = { tokenizer_class: 'GPT2Tokenizer', bos_token: '<|endoftext|>', eos_token: '<|endoftext|>' };
const qwen = { tokenizer_class: 'Qwen2Tokenizer', bos_token: null, eos_token: '<|endoftext|>' };
const llama = { tokenizer_class: 'LlamaTokenizer', bos_token: '<s>', eos_token: '</s>' };
const fast = { ...llama, tokenizer_class: 'PreTrainedTokenizerFast' };
const t5 = { tokenizer_class: 'T5Tokenizer', eos_token: '</s>', pad_token: '<pad>' };
const bert = { tokenizer_class: 'BertTokenizerFast' };
const noProcessor = { post_processor: null };
const sequence = { type: 'Sequence', processors: [byteLevel, template('<s>', 'A')] };

function opened(tokenizerJson: JsonObject, config: JsonObject, model: JsonObject = {}): Tokenizer {
  return huggingFaceTokenizer({ tokenizerJson, tokenizerConfigJson: config, modelConfigJson: model });
}

const causal = (tokenizer: Tokenizer, bosId?: number, eosId?: number): PromptReader => ({
  decoder: { bosId, eosIds: eosId === undefined ? [] : [eosId] },
  tokenizer,
});

describe('the golden ids of "a b"', () => {
  const golden: readonly [string, JsonObject, JsonObject, JsonObject, prompt: number[], whole: number[]][] = [
    ['GPT-2', byteLevelJson, gpt2, {}, [0, 3], [0, 3]],
    ['GPT-2 without post-processor', { ...byteLevelJson, ...noProcessor }, gpt2, {}, [0, 3], [0, 3]],
    ['GPT-2, add_bos_token false', byteLevelJson, { ...gpt2, add_bos_token: false }, {}, [0, 3], [0, 3]],
    [
      'GPT-2, add_bos_token true, without post-processor, as OPT',
      { ...byteLevelJson, ...noProcessor },
      { ...gpt2, add_bos_token: true },
      {},
      [4, 0, 3],
      [4, 0, 3],
    ],
    ['GPT-2 by config.json', byteLevelJson, {}, { model_type: 'gpt2', bos_token_id: 4 }, [0, 3], [0, 3]],
    ['Qwen2 and Qwen3', byteLevelJson, { ...qwen, add_bos_token: false }, {}, [0, 3], [0, 3]],
    ['Qwen without post-processor', { ...byteLevelJson, ...noProcessor }, qwen, {}, [0, 3], [0, 3]],
    [
      'Qwen3-Embedding',
      { ...byteLevelJson, post_processor: template('A', '<|endoftext|>') },
      qwen,
      {},
      [0, 3],
      [0, 3, 4],
    ],
    ['LLaMA', { ...llamaJson, post_processor: template('<s>', 'A') }, llama, {}, [1, 6, 7], [1, 6, 7]],
    ['LLaMA without post-processor', llamaJson, llama, {}, [1, 6, 7], [1, 6, 7]],
    ['LLaMA, add_bos_token true', llamaJson, { ...llama, add_bos_token: true }, {}, [1, 6, 7], [1, 6, 7]],
    ['LLaMA, add_bos_token false', llamaJson, { ...llama, add_bos_token: false }, {}, [6, 7], [6, 7]],
    ['LLaMA, add_eos_token true', llamaJson, { ...llama, add_eos_token: true }, {}, [1, 6, 7], [1, 6, 7, 2]],
    ['LLaMA 3, a sequence of processors', { ...llamaJson, post_processor: sequence }, fast, {}, [1, 6, 7], [1, 6, 7]],
    ['a fast tokenizer without post-processor', llamaJson, fast, {}, [6, 7], [6, 7]],
    ['LLaMA by config.json', llamaJson, {}, { model_type: 'llama', bos_token_id: 1 }, [1, 6, 7], [1, 6, 7]],
    [
      'Mistral',
      { ...llamaJson, post_processor: template('<s>', 'A') },
      { ...llama, add_bos_token: true },
      {},
      [1, 6, 7],
      [1, 6, 7],
    ],
    ['Mistral by config.json', firstJson, {}, { model_type: 'mistral', bos_token_id: 1 }, [1, 6, 7], [1, 6, 7]],
    ['T5', { ...t5Json, post_processor: template('A', '</s>') }, t5, {}, [3, 4], [3, 4, 1]],
    ['T5 without post-processor', t5Json, t5, {}, [3, 4], [3, 4, 1]],
    ['BERT', { ...bertJson, post_processor: template('[CLS]', 'A', '[SEP]') }, bert, {}, [2, 5, 6], [2, 5, 6, 3]],
    [
      'BERT by its own processor',
      { ...bertJson, post_processor: { type: 'BertProcessing', cls: ['[CLS]', 2], sep: ['[SEP]', 3] } },
      bert,
      {},
      [2, 5, 6],
      [2, 5, 6, 3],
    ],
    ['BERT without post-processor', bertJson, {}, { model_type: 'bert' }, [2, 5, 6], [2, 5, 6, 3]],
  ];

  it.each(golden)('%s', (_, tokenizerJson, config, model, prompt, whole) => {
    const tokenizer = opened(tokenizerJson, config, model);
    expect(preparePrompt(causal(tokenizer), { text: 'a b' })).toEqual({ tokens: prompt });
    expect(textTokens(tokenizer, 'a b', { whole: true })).toEqual(whole);
    expect(preparePrompt(causal(tokenizer), { text: 'a b' }, { bos: false }).tokens).toEqual(
      textTokens(tokenizer, 'a b', { bos: false }),
    );
  });
});

describe('preparePrompt', () => {
  const tokenizer = opened(llamaJson, llama);
  const model = causal(tokenizer, 1, 2);

  it('makes BOS of an empty prompt, also where texts have none', () => {
    const gpt = causal(opened(byteLevelJson, gpt2), 4, 4);
    for (const input of [{ text: '' }, { tokens: [] }]) {
      expect(preparePrompt(model, input).tokens).toEqual([1]);
      expect(preparePrompt(gpt, input).tokens).toEqual([4]);
    }
  });

  it('takes token ids as they are, with or without a tokenizer', async () => {
    expect(preparePrompt(model, { tokens: [4, 5] }).tokens).toEqual([4, 5]);
    expect(preparePrompt({ decoder: model.decoder }, { tokens: [4] }).tokens).toEqual([4]);
    expect(await errorCode(() => preparePrompt({ decoder: model.decoder }, { text: 'a' }))).toBe('NOT_FOUND');
  });

  it('adds BOS where it is asked to, and refuses where there is none', async () => {
    expect(preparePrompt(causal(opened(byteLevelJson, gpt2)), { text: 'a' }, { bos: true }).tokens).toEqual([4, 0]);
    const without = causal(opened(byteLevelJson, qwen));
    expect(await errorCode(() => preparePrompt(without, { text: 'a' }, { bos: true }))).toBe('INPUT');
    expect(await errorCode(() => preparePrompt(without, { text: '' }))).toBe('INPUT');
  });

  it('reads names of control tokens where it may', () => {
    expect(preparePrompt(model, { text: 'a</s>b', special: true }).tokens).toEqual([1, 6, 2, 7]);
    expect(preparePrompt(model, { text: '<s>a', special: true }).tokens).toEqual([1, 6]);
    expect(preparePrompt(model, { text: '<s>a' }).tokens.slice(0, 2)).toEqual([1, 3]);
  });

  it('puts no blank before a text that goes on', () => {
    const after = { tokens: [1, 6] };
    for (const json of [llamaJson, firstJson]) {
      const own = causal(opened(json, llama), 1, 2);
      expect(preparePrompt(own, { text: ' b' }, { after }).tokens).toEqual([1, 6, 7]);
      expect(preparePrompt(own, { text: 'b' }, { after }).tokens).toEqual([1, 6, 5]);
      expect(preparePrompt(own, { text: '' }, { after }).tokens).toEqual([1, 6]);
      expect(tokenizer.decode(preparePrompt(own, { text: ' b' }, { after }).tokens)).toBe('a b');
    }
  });

  it('puts the blank after a control token as the tokenizer does', () => {
    const after = { tokens: [1, 6, 2] };
    expect(preparePrompt(model, { text: 'b' }, { after }).tokens).toEqual([1, 6, 2, 7]);
    const first = causal(opened(firstJson, llama), 1, 2);
    expect(preparePrompt(first, { text: 'b' }, { after }).tokens).toEqual([1, 6, 2, 5]);
    expect(preparePrompt(first, { text: 'a</s>b', special: true }).tokens).toEqual([1, 6, 2, 5]);
  });

  it('joins texts and ids', () => {
    expect(textTokens(tokenizer, ['a', 7, ' b', 2, 'a'])).toEqual([1, 6, 7, 7, 2, 6]);
    expect(textTokens(tokenizer, [7, 'b'])).toEqual([7, 5]);
  });

  describe('with messages', () => {
    const turns =
      '{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}b{% endif %}';
    const chat = { ...model, template: new ChatTemplate(turns, tokenizer) };
    const user = { role: 'user', content: 'a' };

    it('is what the template writes, without another BOS', () => {
      expect(preparePrompt(chat, { messages: [user] })).toEqual({ tokens: [1, 6, 2, 7], keepAt: [] });
      expect(preparePrompt(chat, { messages: [user], addGenerationPrompt: false }).tokens).toEqual([1, 6, 2]);
    });

    it('tells where the system message ends', () => {
      const { tokens, keepAt } = preparePrompt(chat, { messages: [{ role: 'system', content: 'b' }, user] });
      expect([tokens, keepAt]).toEqual([[1, 7, 2, 6, 2, 7], [3]]);
    });

    it('ends the turn before, where only its tokens are known', () => {
      const more = (tokens: number[]) => preparePrompt(chat, { messages: [user] }, { after: { tokens } }).tokens;
      expect(more([1, 6])).toEqual([1, 6, 2, 6, 2, 7]);
      expect(more([1, 6, 2])).toEqual([1, 6, 2, 6, 2, 7]);
    });

    it('needs a template, and a message', async () => {
      expect(await errorCode(() => preparePrompt(model, { messages: [user] }))).toBe('CONFIG');
      expect(await errorCode(() => preparePrompt(chat, { messages: [] }))).toBe('INPUT');
    });
  });

  describe('of an encoder-decoder model', () => {
    const cross = { mixers: [], attentionPrefix: String, project: () => expect.unreachable() };
    const reader: PromptReader = {
      decoder: { bosId: 0, eosIds: [1], cross },
      tokenizer: opened({ ...t5Json, post_processor: template('A', '</s>') }, t5),
    };

    it('is a source with one EOS, and the start of another text', () => {
      expect(preparePrompt(reader, { text: 'a b' })).toEqual({ source: [3, 4, 1], tokens: [0] });
      for (const tokens of [[3], [3, 1]]) {
        expect(preparePrompt(reader, { tokens })).toEqual({ source: [3, 1], tokens: [0] });
      }
      expect(preparePrompt(reader, { text: '' })).toEqual({ source: [1], tokens: [0] });
    });

    it('goes on with its own text alone', async () => {
      const after = { tokens: [0, 5] };
      expect(preparePrompt(reader, { text: '' }, { after })).toEqual({ tokens: [0, 5] });
      expect(await errorCode(() => preparePrompt(reader, { text: 'a' }, { after }))).toBe('INPUT');
    });
  });
});
