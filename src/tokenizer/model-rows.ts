/**
 * Limits a tokenizer to the tokens with a row in its model's embedding. Published tokenizers may have a few more: Gemma 3's
 * has one for pictures, for which text-only models have no row.
 */
import { LinnetError } from '../errors.ts';
import { isJsonObject, type JsonObject } from '../files/json-object.ts';
import { listNames, quoteName } from '../files/name-list.ts';
import type { Tokenizer } from './text-tokens.ts';

/** Row count from config.json, also for a model of pictures and texts; undefined if the model uses a default. */
function embeddingRows({ vocab_size: rows, text_config: text }: JsonObject): number | undefined {
  const stated = rows ?? (isJsonObject(text) ? text.vocab_size : undefined);
  return typeof stated === 'number' ? stated : undefined; // the model reports any other value
}

/**
 * Removes tokens without a row from a vocabulary.
 * @param ids every token's id, by name; loses those without a row
 * @param optional names of the tokens that a model may lack: added ones and control tokens
 * @returns the removed tokens
 * @throws LinnetError `FORMAT` for any other token without a row: the tokenizer belongs to another model
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
        `token ${quoteName(token)} of ${origin} has the id ${id}, but the model has ${rows} tokens (vocab_size of config.json)`,
      );
    }
    removed.set(token, id);
  }
  for (const token of removed.keys()) ids.delete(token);
  return removed;
}

/** A remark on the tokens left out of a tokenizer; undefined if all have a row. */
export function remarkOnRows({ withoutRow = [] }: Tokenizer): string | undefined {
  if (withoutRow.length === 0) return undefined;
  return `the model has no row for ${listNames(withoutRow)} of the tokenizer: no text becomes such a token`;
}
