/**
 * Steps before and after the model in a tokenizer.json: the file's own patterns and replacements. A file can make them
 * explode, in time (a pattern that backtracks without end) or in memory (chained replacements that grow the text). Refuses
 * recognizably unsafe steps and reports patterns that need a time limit.
 */
import { isJsonObject, type JsonObject } from '../files/json-object.ts';
import { LinnetError } from '../errors.ts';
import { quoteName } from '../files/name-list.ts';

/** The file's sections that work on texts. */
const sections = ['normalizer', 'pre_tokenizer', 'decoder'] as const;

/** Most chained parts in one section; tokenizers in use have at most 12. */
const mostParts = 64;
/** Longest replacement and other inserted text. */
const longestText = 64;
const longestPattern = 10_000;
/** Most that all of a section's replacements together may lengthen a text, as a factor. */
const mostGrowth = 128;
/** The growth in tokenizers in use: T5 replaces several blanks with one character. */
const usualGrowth = 2;
/** Longest word in which WordPiece looks for tokens, in quadratic time; tokenizers in use have 100 characters. */
const longestWord = 256;
/** Most distinct token lengths in a unigram vocabulary: as many tokens can begin at every character. */
const mostLengths = 128;
/** Keys whose values are not inserted texts: they hold data, or names. */
const otherTexts = new Set(['type', 'precompiled_charsmap', 'behavior', 'prepend_scheme', 'Regex', 'String']);
/** `String.replaceAll`'s substitution patterns; tokenizers mean the literal characters. */
const substitution = /\$[$&`'<\d]/;

/**
 * Patterns of well-known tokenizers, which backtrack at most over a run of white space: GPT-2, LLaMA 3 and later models, Qwen
 * 2, T5.
 */
const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const rest = String.raw` ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const familiarPatterns: ReadonlySet<string> = new Set([
  String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
  String.raw`${contractions}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|${rest}`,
  String.raw`${contractions}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|${rest}`,
  ' {2,}',
  String.raw`\s+`,
  String.raw`\s`,
]);

/** Whether the parts up to the model, and those after it, may fail to end soon. */
export interface UnfamiliarParts {
  readonly encoding: boolean;
  readonly decoding: boolean;
}

/**
 * Checks the sections of a tokenizer.json that work on texts.
 * @param origin for messages
 * @throws LinnetError `FORMAT` for parts that could grow a text without end, and parts no tokenizer has
 */
export function checkComponents(tokenizerJson: JsonObject, origin: string): UnfamiliarParts {
  const { model } = tokenizerJson;
  if (isJsonObject(model)) checkModel(model, `the model of ${origin}`);
  const [normalizer, preTokenizer, decoder] = sections.map((name) =>
    checkSection(tokenizerJson[name], `the ${name} of ${origin}`),
  );
  return { encoding: normalizer || preTokenizer, decoding: decoder };
}

function checkModel({ max_input_chars_per_word: word, vocab }: JsonObject, label: string): void {
  if (typeof word === 'number' && !(word <= longestWord))
    throw refused(label, `looks for tokens in words of ${word} characters`);
  if (!Array.isArray(vocab)) return;
  const lengths = new Set(vocab.map((entry: unknown) => (Array.isArray(entry) ? String(entry[0]).length : 0)));
  if (lengths.size > mostLengths) throw refused(label, `has tokens of ${lengths.size} lengths`);
}

/** Whether a pattern is unfamiliar, or texts become much longer. */
function checkSection(section: unknown, label: string): boolean {
  const parts = [...partsOf(section)];
  if (parts.length > mostParts) throw refused(label, `has more than ${mostParts} parts`);
  let growth = 1;
  let unfamiliar = false;
  for (const part of parts) {
    for (const [key, value] of Object.entries(part)) {
      if (typeof value === 'string' && value.length > longestText && !otherTexts.has(key)) {
        throw refused(label, `has a "${key}" of ${value.length} characters`);
      }
    }
    if (part.type === 'FixedLength' && !(typeof part.length === 'number' && part.length >= 1)) {
      throw refused(label, 'splits texts into pieces of no length');
    }
    if (part.type === 'Split' || part.type === 'Replace') unfamiliar = checkPattern(part.pattern, label) || unfamiliar;
    growth *= growthOf(part, label);
    if (growth > mostGrowth) throw refused(label, `makes texts more than ${mostGrowth} times as long`);
  }
  return unfamiliar || growth > usualGrowth;
}

/** Fields of sequences, by section. */
const listNames = ['normalizers', 'pretokenizers', 'decoders', 'processors'];

/** The effective parts, sequences flattened at any depth. */
export function* partsOf(section: unknown): Generator<JsonObject> {
  if (!isJsonObject(section)) return;
  const inner = listNames.map((name) => section[name]).find((list) => Array.isArray(list));
  if (section.type !== 'Sequence' || !Array.isArray(inner)) yield section;
  else for (const part of inner as readonly unknown[]) yield* partsOf(part);
}

/** Whether a pattern is unfamiliar. */
function checkPattern(pattern: unknown, label: string): boolean {
  const { Regex: expression, String: text } = isJsonObject(pattern) ? pattern : {};
  const given = expression ?? text;
  if (typeof given !== 'string') throw refused(label, 'has a pattern that is neither a text nor an expression');
  if (given.length > longestPattern)
    throw refused(label, `has a pattern of ${given.length} characters, expected at most ${longestPattern}`);
  return typeof expression === 'string' && !familiarPatterns.has(expression);
}

/** The factor by which a part can lengthen a text. */
function growthOf({ type, pattern, content, replacement }: JsonObject, label: string): number {
  if (type === 'Metaspace' && typeof replacement === 'string') return Math.max(1, replacement.length);
  if (type !== 'Replace' || typeof content !== 'string') return 1;
  if (substitution.test(content)) {
    throw refused(label, `replaces with ${quoteName(content)}, which would insert other parts of the text`);
  }
  const replaced = isJsonObject(pattern) && typeof pattern.String === 'string' ? pattern.String.length : 0;
  // An expression may match the empty text, as may an empty string: each then adds the replacement to every character.
  return replaced === 0 ? content.length + 1 : Math.max(1, content.length / replaced);
}

function refused(label: string, what: string): LinnetError {
  return new LinnetError('FORMAT', `${label} ${what}; no known tokenizer does, so Linnet refuses it`);
}
