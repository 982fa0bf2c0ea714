/**
 * A byte-pair tokenizer's vocabulary and merges in the form the library looks them up, made once for all its instances. The
 * library would copy both from the parsed file for each instance, the merges as JSON texts: at 262,000 tokens that is most of
 * the loading time.
 */
import type { Tokenizer as LibraryTokenizer } from '@huggingface/tokenizers';
import type { JsonObject } from '../files/json-object.ts';
import { LinnetError } from '../errors.ts';

/** A piece of a word that the library asks to merge with the next one. */
interface Piece {
  readonly token: string;
  readonly next: { readonly token: string };
  /** Its distance to the right, scaled below 1: of equal merges the left one comes first. */
  readonly bias: number;
  /** Its rank among the word's merges. */
  score: number;
}

/**
 * @param ids every token's id, by its name in the library
 * @param model from a tokenizer.json
 * @param unknown the unknown token's name in the library
 * @returns a function that gives both to an instance made without them
 * @throws LinnetError `FORMAT` for malformed merges
 */
export function bytePairs(ids: ReadonlyMap<string, number>, { merges }: JsonObject, unknown: unknown, origin: string) {
  if (!Array.isArray(merges)) throw new LinnetError('FORMAT', `${origin} has no list "merges"`);
  const ranks = mergeRanks(merges, origin);
  const vocab = new Array<string>(ids.size);
  for (const [token, id] of ids) vocab[id] = token;
  const unk_token_id = typeof unknown === 'string' ? ids.get(unknown) : undefined;
  const add_node = (queue: { push(piece: Piece): void }, piece: Piece): void => {
    const rank = ranks.get(piece.token)?.get(piece.next.token);
    if (rank === undefined) return;
    piece.score = rank + piece.bias;
    queue.push(piece);
  };
  return ({ model }: LibraryTokenizer): void => {
    Object.assign(model, { tokens_to_ids: ids, vocab, unk_token_id, add_node });
  };
}

/** Each merge's index in the list, by left and right token. */
function mergeRanks(merges: readonly unknown[], origin: string): ReadonlyMap<string, ReadonlyMap<string, number>> {
  const ranks = new Map<string, Map<string, number>>();
  merges.forEach((merge, rank) => {
    const pair: readonly unknown[] =
      typeof merge === 'string' ? merge.split(' ', 2) : Array.isArray(merge) ? merge : [];
    const [left, right] = pair;
    if (pair.length !== 2 || typeof left !== 'string' || typeof right !== 'string') {
      throw new LinnetError('FORMAT', `merge ${rank} of ${origin} is not a pair of tokens`);
    }
    const rights = ranks.get(left) ?? new Map<string, number>();
    ranks.set(left, rights.set(right, rank));
  });
  return ranks;
}
