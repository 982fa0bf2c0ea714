/**
 * The vocabulary and the merges of a byte-pair tokenizer as the library keeps them, made once for all its instances. The library would
 * copy both out of the parsed file for each, the merges as texts of JSON: at 262,000 tokens that is most of the time of loading.
 */
import type { Tokenizer as LibraryTokenizer } from '@huggingface/tokenizers';
import { isJsonObject, type JsonObject } from '../files/json-object.ts';
import { LinnetError } from '../errors.ts';

export class BytePairs {
  /** The model of the file without vocabulary and merges, for the library's constructor. */
  readonly stripped: JsonObject;
  readonly #ids: ReadonlyMap<string, number>;
  readonly #tokens: string[] = [];
  #merges: readonly unknown[];
  #ranks: ReadonlyMap<string, number> | undefined;

  /**
   * @param ids of all tokens, as they are called in the library
   * @param model one that `describes` says
   * @param mask makes these names from the names in the file
   * @throws LinnetError `FORMAT` for merges that are none
   */
  constructor(ids: ReadonlyMap<string, number>, model: JsonObject, mask: (token: string) => string, origin: string) {
    const { merges, unk_token: unknown } = model;
    this.#ids = ids;
    for (const [token, id] of ids) this.#tokens[id] = token;
    this.#merges = Array.isArray(merges) ? merges : [];
    const isMerge = Array.isArray(this.#merges[0]) ? isPair : (merge: unknown) => typeof merge === 'string';
    if (!this.#merges.every(isMerge)) {
      throw new LinnetError('FORMAT', `${origin} has a merge that is no pair of tokens`);
    }
    this.stripped = {
      ...model,
      vocab: {},
      merges: [],
      ...(typeof unknown === 'string' && { unk_token: mask(unknown) }),
    };
  }

  /** Whether a model is one of this kind. */
  static describes({ type, vocab, merges }: JsonObject): boolean {
    return type === 'BPE' && isJsonObject(vocab) && Array.isArray(merges);
  }

  /** Gives them to an instance that was made of the stripped file. */
  give({ model }: LibraryTokenizer): void {
    const { unk_token: unknown } = this.stripped;
    const unk_token_id = typeof unknown === 'string' ? this.#ids.get(unknown) : undefined;
    Object.assign(model, { tokens_to_ids: this.#ids, vocab: this.#tokens, unk_token_id });
    Object.defineProperty(model, 'bpe_ranks', { get: () => this.#allRanks() });
  }

  /** The places of merges in their list, by their tokens as the library writes them; made with the first text. */
  #allRanks(): ReadonlyMap<string, number> {
    if (this.#ranks !== undefined) return this.#ranks;
    const ranks = new Map<string, number>();
    for (const [rank, merge] of this.#merges.entries()) {
      ranks.set(JSON.stringify(typeof merge === 'string' ? merge.split(' ', 2) : merge), rank);
    }
    this.#merges = [];
    return (this.#ranks = ranks);
  }
}

function isPair(merge: unknown): boolean {
  return Array.isArray(merge) && merge.length === 2 && typeof merge[0] === 'string' && typeof merge[1] === 'string';
}
