/** Tokenizers of GGUF files: ids of llama.cpp for made vocabularies, and for published ones. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type MetadataValue, readGgufHeader } from '../../src/checkpoint/gguf/header.ts';
import { tokenizerParts } from '../../src/checkpoint/gguf/tokenizers.ts';
import { huggingFaceTokenizer } from '../../src/tokenizer/hugging-face.ts';
import { textTokens } from '../../src/tokenizer/encode-text.ts';
import { loadTokenizer, readChatTemplate } from '../../src/tokenizer/tokenizer.ts';
import { wordPieceJson } from '../../src/tokenizer/word-piece.ts';
import { golden, present, thirdParty } from '../fixtures.ts';

const ids = z.array(z.int());
const expectedSchema = z.object({
  bos: z.int(),
  eos: z.int(),
  tokenizations: z.array(z.object({ text: z.string(), plain: ids, special: ids, detokenized: z.string() })),
  chat: z
    .array(z.object({ messages: z.array(z.object({ role: z.string(), content: z.string() })), text: z.string(), ids }))
    .optional(),
});

const folders = readdirSync(golden('gguf')).filter((name) => /^tokenizer-(?!pre)/.test(name));

describe.each(folders)('%s', (name) => {
  const folder = join(golden('gguf'), name);
  const expected = expectedSchema.parse(JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')));

  it('gives the ids of texts, with and without control tokens', async () => {
    const tokenizer = await loadTokenizer(folder);
    const isBert = name.endsWith('bert');
    // llama.cpp takes blanks before punctuation away from decoded bytes.
    const isBytes = name.endsWith('gpt2');
    expect([tokenizer.bosId ?? -1, tokenizer.eosId ?? -1]).toEqual([expected.bos, expected.eos]);
    for (const { text, plain, special, detokenized } of expected.tokenizations) {
      const own = [...tokenizer.encode(text)];
      expect(own, JSON.stringify(text)).toEqual(plain);
      expect(textTokens(tokenizer, text, { special: true, whole: true }), JSON.stringify(text)).toEqual(special);
      if (!isBert) expect(tokenizer.decode(own), JSON.stringify(text)).toBe(isBytes ? text : detokenized);
    }
  });

  it('renders conversations', async () => {
    const tokenizer = await loadTokenizer(folder);
    const template = await readChatTemplate(folder, tokenizer);
    expect(template === undefined).toBe(name === 'tokenizer-bert');
    for (const { messages, text, ids: wanted } of expected.chat ?? []) {
      expect(template?.render(messages)).toBe(text);
      expect(template?.encode(messages)).toEqual(wanted);
    }
  });
});

describe('a vocabulary of bytes', () => {
  const { texts, pre } = z
    .object({ texts: z.array(z.string()), pre: z.record(z.string(), z.array(ids)) })
    .parse(JSON.parse(readFileSync(join(golden('gguf'), 'tokenizer-pre/expected.json'), 'utf8')));

  it.each(Object.keys(pre))('is cut as %s cuts', async (rule) => {
    const bytes = readFileSync(join(golden('gguf'), 'tokenizer-pre/default.gguf'));
    const read = async (offset: number, length: number, room = new Uint8Array(length)) => {
      room.set(bytes.subarray(offset, offset + length));
      return room;
    };
    const header = await readGgufHeader({ name: rule, size: bytes.length, read });
    const metadata = new Map(header.metadata);
    metadata.set('tokenizer.ggml.pre', rule);
    const { json } = tokenizerParts(metadata, rule);
    const tokenizer = huggingFaceTokenizer({
      tokenizerJson: json.get('tokenizer.json') ?? {},
      tokenizerConfigJson: json.get('tokenizer_config.json'),
    });
    for (const [i, text] of texts.entries())
      expect([...tokenizer.encode(text)], JSON.stringify(text)).toEqual(pre[rule][i]);
  });
});

const published = ['gpt-2', 'llama-spm', 'bert-bge'];
const vocabularies = thirdParty('gguf-vocab');

describe.skipIf(vocabularies === undefined)(
  `published vocabularies${vocabularies === undefined ? ' (skipped: absent)' : ''}`,
  () => {
    it.each(published)('%s', (name) => {
      const folder = present(vocabularies);
      const metadata = readMetadata(join(folder, `${name}.gguf`));
      if (name === 'llama-spm') repairScores(metadata);
      const { json, texts: files } = tokenizerParts(metadata, name);
      const config = json.get('tokenizer_config.json');
      const vocabulary = files.get('vocab.txt');
      const tokenizerJson =
        vocabulary === undefined
          ? json.get('tokenizer.json')
          : wordPieceJson(Buffer.from(vocabulary), config ?? {}, name);
      const tokenizer = huggingFaceTokenizer({ tokenizerJson: tokenizerJson ?? {}, tokenizerConfigJson: config });
      const read = (end: string): string => readFileSync(join(folder, `${name}.gguf.${end}`), 'utf8');
      const texts = read('inp').split('\n__ggml_vocab_test__\n');
      const lines = read('out').split('\n');
      expect(lines.length).toBe(texts.length);
      for (const [i, text] of texts.entries()) {
        const wanted = lines[i]
          .trim()
          .split(/\s+/)
          .filter((id) => id !== '')
          .map(Number);
        expect([...tokenizer.encode(text)], JSON.stringify(text)).toEqual(wanted);
      }
    });
  },
);

/** LLaMA 2's scores count down from its first piece that is no byte; runs of blanks come last. */
function repairScores(metadata: Map<string, MetadataValue>): void {
  const tokens = metadata.get('tokenizer.ggml.tokens');
  if (!Array.isArray(tokens)) throw new Error('no tokens');
  metadata.set(
    'tokenizer.ggml.scores',
    tokens.map((token, id) => (/^▁{2,}$/.test(String(token)) ? -1e9 : id < 259 ? 0 : 259 - id)),
  );
}

/**
 * Metadata of a file without tensors. The published vocabularies of the fixtures went through a conversion to text, in which bytes of
 * numbers became U+FFFD: so a reader of its own, which goes by the texts and by numbers that are whole.
 */
function readMetadata(path: string): Map<string, MetadataValue> {
  const bytes = readFileSync(path);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const metadata = new Map<string, MetadataValue>();
  let at = 24;
  const count = view.getUint32(16, true);
  const isText = (place: number): boolean =>
    place + 8 <= bytes.length && view.getUint32(place + 4, true) === 0 && view.getUint32(place, true) < 1 << 20;
  const isReplaced = (place: number): boolean => place + 3 <= bytes.length && bytes.readUIntBE(place, 3) === 0xefbfbd;
  const text = (): string => {
    const isLong = isReplaced(at); // 128 bytes or more, up to the length of the next text
    const first = at + (isLong ? 10 : 8);
    const zero = bytes.indexOf(0, first);
    at = isLong ? zero - (isReplaced(zero - 3) ? 3 : 1) : first + view.getUint32(at, true);
    return bytes.toString('utf8', first, at);
  };
  const isKey = (place: number): boolean => {
    if (!isText(place)) return false;
    const length = view.getUint32(place, true);
    return (
      length < 64 &&
      /^(general|tokenizer|gpt2|llama|bert)\.[a-z0-9_.]+$/.test(bytes.toString('latin1', place + 8, place + 8 + length))
    );
  };
  const number = (width: number): number => {
    // A replaced byte is three.
    let taken = 0;
    const first = at;
    while (taken < width) {
      const replaced = isReplaced(at);
      at += replaced ? 3 : 1;
      taken++;
    }
    return at - first === width && width === 4 ? view.getInt32(first, true) : width === 1 ? bytes[first] : 0;
  };
  for (let i = 0; i < count && at < bytes.length; i++) {
    const key = text();
    const type = number(4);
    if (type === 8) metadata.set(key, text());
    else if (type === 9) {
      const element = number(4);
      number(8);
      const texts: string[] = [];
      const numbers: number[] = [];
      while (at < bytes.length && !isKey(at)) {
        if (element === 8) texts.push(text());
        else numbers.push(number(4));
      }
      metadata.set(key, element === 8 ? texts : numbers);
    } else {
      const first = at;
      const value = number(type === 7 ? 1 : 4);
      if (at - first <= 4) metadata.set(key, type === 7 ? value !== 0 : value); // a damaged number is left out
    }
  }
  return metadata;
}
