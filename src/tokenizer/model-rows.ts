/**
 * The tokens of a tokenizer that its model has rows of the embedding for. Published tokenizers may have some more: Gemma 3's has one
 * for pictures, which models of texts alone have no row for.
 */
import { LinnetError } from '../errors.ts';
import { isJsonObject, type JsonObject } from '../files/json-object.ts';
import { listNames, quoteName } from '../files/name-list.ts';
import type { Tokenizer } from './text-tokens.ts';

/** Rows that config.json says, of a model of pictures and texts too; undefined where the model has a default. */
function embeddingRows({ vocab_size: rows, text_config: text }: JsonObject): number | undefined {
  const stated = rows ?? (isJsonObject(text) ? text.vocab_size : undefined);
  return typeof stated === 'number' ? stated : undefined; // the model says what is wrong with another value
}

/**
 * Takes the tokens without a row out of a vocabulary.
 * @param ids of all tokens, by name; those without a row are removed
 * @param optional names of the tokens that a model may lack: added ones and control tokens
 * @returns the removed tokens
 * @throws LinnetError `FORMAT` for another token without a row: the tokenizer is of another model
 */
export function removeTokensWithoutRow(
  ids: Map<string, number>,
  optional: ReadonlySet<string | undefined>,
  modelConfig: JsonObject,
  origin: string,
): ReadonlyMap<string, number> {
  const removed = new Map<string, number>();
  const rows = embeddingRows(modelConfig) ?? Infinity;
  for (const [token, id] of ids) {
    if (id < rows) continue;
    if (!optional.has(token)) {
      throw new LinnetError(
        'FORMAT',
        `token ${quoteName(token)} of ${origin} has the id ${id}, and the model has ${rows} tokens (vocab_size of config.json)`,
      );
    }
    removed.set(token, id);
  }
  for (const token of removed.keys()) ids.delete(token);
  return removed;
}

/** A remark on the tokens that were left out of a tokenizer; undefined where all have a row. */
export function remarkOnRows({ withoutRow = [] }: Tokenizer): string | undefined {
  if (withoutRow.length === 0) return undefined;
  return `the model has no row for ${listNames(withoutRow)} of the tokenizer: no text becomes such a token`;
}
