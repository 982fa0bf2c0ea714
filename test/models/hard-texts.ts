/** Texts that tokenizers are easily wrong about, the same ones every time. */
import { Random } from '../../src/random.ts';

/** Pieces by kind; a text is made of pieces of one to four kinds. */
const kinds: readonly (readonly string[])[] = [
  ['😀', '👩‍👩‍👧‍👦', '🏳️‍🌈', '👍🏽', '🇫🇷', '🇩', '❤️', '☺', '🧑🏿‍🚀', '‍', '️', '#️⃣'],
  ['日本語', '漢字', 'かな', 'カタカナ', '中文', '한국어', '，', '。', '「', '」', '　', '㍿', '𠮷'],
  ['مرحبا', 'العالم', 'بِسْمِ', '؟', '‏', 'שלום', 'नमस्ते', 'ไทย', 'Привет', 'Ελληνικά', '١٢٣'],
  ['é', 'é', 'ñ', 'ñ', 'ﬁ', 'Å', 'Å', 'ş̌', 'ẛ̣', '½', '²', 'ǆ', 'İ', 'ß', '\u0301'],
  [
    'const x = {',
    '};\n',
    '\tif (a !== b)',
    '=>',
    '/* */',
    '// ',
    '"\\n"',
    "'",
    '`${x}`',
    '0xFF',
    '1e-9',
    '_id',
    '::',
    '<T>',
  ],
  [
    ' ',
    '  ',
    '   ',
    '\n',
    '\n\n',
    '\r\n',
    '\t',
    '\t\t',
    '\u00a0',
    '\u2003',
    '\u200b',
    '\ufeff',
    '\v',
    '\u0085',
    '\u2028',
  ],
  [
    'the',
    ' The',
    'THE',
    "don't",
    " I'LL",
    "'S",
    'internationalization',
    ' antidis',
    'a',
    'xyzzy',
    'QqQq',
    '…',
    '—',
    '“”',
  ],
  ['0', '1', '12', '123', '1234', '3.14159', '1,000', '2026-11-29', '٣', '௧', '①', '1️'],
  [
    '<s>',
    '</s>',
    '<|im_start|>',
    '<|im_end|>',
    '<|eot_id|>',
    '<start_of_turn>',
    '<eos>',
    '<|endoftext|>',
    '<|',
    '|>',
    '<unk',
  ],
  ['\ud800', '\udc00', 'a\ud83d', '\ude00b', '\ufffd', '\u0000', '\u0007', '\u001b[0m', '\u007f'],
  [
    'http://example.org/a?b=c&d=%20',
    'a@b.co',
    '/usr/local/bin',
    'C:\\x\\y',
    '**bold**',
    '| a | b |',
    '$x^2$',
    '\\frac{1}{2}',
  ],
];

function pieceOf(random: Random, kind: readonly string[]): string {
  return kind[random.integer(kind.length)];
}

/** A thousand texts, lone surrogates and names of control tokens among them. */
export function hardTexts(): string[] {
  const random = new Random(20_261_129);
  return Array.from({ length: 1000 }, (_, index) => {
    const chosen = Array.from({ length: 1 + random.integer(4) }, () => kinds[random.integer(kinds.length)]);
    const length = index % 50 === 49 ? 400 : 1 + random.integer(24);
    const separator = random.uniform() < 0.3 ? ' ' : '';
    return Array.from({ length }, () => pieceOf(random, chosen[random.integer(chosen.length)])).join(separator);
  });
}

/** A text of a megabyte without a blank. */
export function longWord(): string {
  const random = new Random(7);
  let text = '';
  while (text.length < 1_000_000) text += 'abcdefghijklmnopqrstuvwxyzäöü漢字ABC0123456789'[random.integer(45)];
  return text;
}
