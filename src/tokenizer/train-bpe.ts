/**
 * Trains a byte-level BPE tokenizer: starting from bytes, the most frequent pair of neighboring tokens becomes a token, again
 * and again (Sennrich et al. 2016, on bytes as in GPT-2).
 *
 * Text is first cut into words and merges never cross a word, so each distinct word is counted once. Pair counts are updated
 * merge by merge, through an index from each pair to the words that contain it.
 */
import TinyQueue from 'tinyqueue';
import { LinnetError } from '../errors.ts';
import {
  byteCharacters,
  byteLevelFiles,
  byteLevelSplit,
  defaultSpecialTokens,
  type SpecialTokens,
  type TokenizerFiles,
} from './byte-level.ts';

/** Options of `trainBpe`. */
export interface TrainBpeOptions {
  /** Tokens in all: special tokens, 256 bytes and merges. The result has fewer if the text runs out of frequent pairs. */
  readonly vocabularySize: number;
  /** BOS, EOS and any others; they take the first ids. Default `<s>`, `</s>`. */
  readonly specialTokens?: SpecialTokens;
  /** Rarer pairs do not become tokens. Default 2. */
  readonly minFrequency?: number;
  /** Called now and then, and at the end. */
  readonly onProgress?: (progress: TrainBpeProgress) => void;
}

/** Training progress. */
export interface TrainBpeProgress {
  readonly merges: number;
  /** Merges in a full vocabulary. */
  readonly targetMerges: number;
}

/** Pairs are packed as left × 2²⁰ + right, which a double holds exactly. */
const pairBase = 1 << 20;
const mergesPerProgress = 100;

/**
 * Trains a tokenizer on `documents`. The result depends only on the documents and options: of equally frequent pairs the one
 * with the smaller left, then right token id is merged first, as in Hugging Face's trainer.
 * @returns the Hugging Face files; give them to `huggingFaceTokenizer`, or write them to a model folder.
 * @throws LinnetError `INPUT` if the vocabulary cannot hold the bytes and special tokens, or a special token is empty or
 *   given twice.
 */
export function trainBpe(documents: Iterable<string>, options: TrainBpeOptions): TokenizerFiles {
  const { vocabularySize, specialTokens = defaultSpecialTokens, minFrequency = 2, onProgress } = options;
  checkOptions(vocabularySize, specialTokens, minFrequency);
  const characters = byteCharacters();
  // Bytes in the order of their characters, as Hugging Face's trainer numbers them.
  const tokens: string[] = [...specialTokens, ...[...characters].sort()];
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const byteIds = characters.map((character) => ids.get(character) ?? 0);

  const corpus = new PairIndex(countWords(documents), byteIds);
  const merges: [string, string][] = [];
  const targetMerges = vocabularySize - tokens.length;
  while (tokens.length < vocabularySize) {
    const pair = corpus.mostFrequent(minFrequency);
    if (pair === undefined) break;
    const left = Math.floor(pair / pairBase);
    const right = pair % pairBase;
    merges.push([tokens[left], tokens[right]]);
    const token = tokens[left] + tokens[right];
    // Two merges may spell the same token ("ab" + "c", "a" + "bc"): the second then adds no token.
    let id = ids.get(token);
    if (id === undefined) {
      id = tokens.length;
      ids.set(token, id);
      tokens.push(token);
    }
    corpus.merge(left, right, id);
    if (merges.length % mergesPerProgress === 0) onProgress?.({ merges: merges.length, targetMerges });
  }
  onProgress?.({ merges: merges.length, targetMerges });
  return byteLevelFiles({ tokens, merges, specialTokens, split: true });
}

function checkOptions(vocabularySize: number, specialTokens: SpecialTokens, minFrequency: number): void {
  const smallest = 256 + specialTokens.length;
  if (!Number.isInteger(vocabularySize) || vocabularySize < smallest || vocabularySize > pairBase) {
    throw new LinnetError(
      'INPUT',
      `a vocabulary of ${vocabularySize} is not possible; expected an integer from ${smallest} (256 bytes and ` +
        `${specialTokens.length} special tokens) to ${pairBase}`,
    );
  }
  if (specialTokens.includes('') || new Set(specialTokens).size < specialTokens.length) {
    throw new LinnetError(
      'INPUT',
      `special tokens must be distinct and not empty, got ${JSON.stringify(specialTokens)}`,
    );
  }
  const bytes = new Set(byteCharacters());
  const clash = specialTokens.find((token) => bytes.has(token));
  if (clash !== undefined) {
    throw new LinnetError(
      'INPUT',
      `the special token ${JSON.stringify(clash)} is a byte's character; choose a longer one`,
    );
  }
  if (!Number.isInteger(minFrequency) || minFrequency < 1) {
    throw new LinnetError('INPUT', `minFrequency is ${minFrequency}; expected an integer of at least 1`);
  }
}

/** How often each word occurs. */
function countWords(documents: Iterable<string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const text of documents) {
    for (const [word] of text.matchAll(byteLevelSplit)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return counts;
}

/** A pair, packed into a number that sorts by left, then right token, and its count when queued. */
interface PairCount {
  readonly count: number;
  readonly pair: number;
}

/** Highest count first; of equal counts, the smallest pair. */
export class PairQueue extends TinyQueue<PairCount> {
  constructor() {
    super([], (a, b) => b.count - a.count || a.pair - b.pair);
  }
}

/** A corpus's words as lists of tokens, and the counts of all neighboring pairs in them. */
class PairIndex {
  readonly #words: number[][] = [];
  readonly #frequencies: number[] = [];
  readonly #counts = new Map<number, number>();
  /** Words that contain, or once contained, a pair. */
  readonly #wordsOf = new Map<number, Set<number>>();
  readonly #queue = new PairQueue();

  constructor(wordCounts: ReadonlyMap<string, number>, byteIds: readonly number[]) {
    const encoder = new TextEncoder();
    for (const [word, frequency] of wordCounts) {
      const index = this.#words.length;
      this.#words.push(Array.from(encoder.encode(word), (byte) => byteIds[byte]));
      this.#frequencies.push(frequency);
      this.#addPairs(index);
    }
    for (const [pair, count] of this.#counts) this.#queue.push({ count, pair });
  }

  /** The most frequent pair, or undefined if none occurs `minFrequency` times. */
  mostFrequent(minFrequency: number): number | undefined {
    for (let entry = this.#queue.pop(); entry !== undefined; entry = this.#queue.pop()) {
      const count = this.#counts.get(entry.pair) ?? 0;
      if (count === entry.count) return count >= minFrequency ? entry.pair : undefined;
      // The entry is stale: counts fall without notice. It goes back with its current count.
      if (count > 0 && count < entry.count) this.#queue.push({ count, pair: entry.pair });
    }
    return undefined;
  }

  /** Replaces the pair by `id` in every word, from left to right. */
  merge(left: number, right: number, id: number): void {
    const pair = left * pairBase + right;
    const before = new Map<number, number>();
    for (const index of this.#wordsOf.get(pair) ?? []) {
      const word = this.#words[index];
      const merged = replacePair(word, left, right, id);
      if (merged.length === word.length) continue;
      const frequency = this.#frequencies[index];
      for (let i = 1; i < word.length; i++) {
        const old = word[i - 1] * pairBase + word[i];
        const count = this.#counts.get(old) ?? 0;
        if (!before.has(old)) before.set(old, count);
        this.#counts.set(old, count - frequency);
      }
      this.#words[index] = merged;
      for (const grown of this.#addPairs(index)) if (!before.has(grown)) before.set(grown, 0);
    }
    this.#wordsOf.delete(pair);
    for (const [changed, oldCount] of before) {
      const count = this.#counts.get(changed) ?? 0;
      if (count === 0) this.#counts.delete(changed);
      else if (count > oldCount) this.#queue.push({ count, pair: changed });
    }
  }

  /** Counts a word's pairs and returns them. */
  #addPairs(index: number): Set<number> {
    const word = this.#words[index];
    const pairs = new Set<number>();
    for (let i = 1; i < word.length; i++) {
      const pair = word[i - 1] * pairBase + word[i];
      pairs.add(pair);
      this.#counts.set(pair, (this.#counts.get(pair) ?? 0) + this.#frequencies[index]);
      const words = this.#wordsOf.get(pair);
      if (words === undefined) this.#wordsOf.set(pair, new Set([index]));
      else words.add(index);
    }
    return pairs;
  }
}

function replacePair(word: readonly number[], left: number, right: number, id: number): number[] {
  const merged: number[] = [];
  for (let i = 0; i < word.length; i++) {
    if (word[i] === left && word[i + 1] === right) {
      merged.push(id);
      i++;
    } else {
      merged.push(word[i]);
    }
  }
  return merged;
}
