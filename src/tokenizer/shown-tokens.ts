/** Control tokens that are part of a text: those that open and close a model's function calls. */
import { decodingInside } from './token-bytes.ts';
import type { Tokenizer } from './text-tokens.ts';

/**
 * A tokenizer that decodes the named control tokens as their names. It encodes as before: no text becomes one of them.
 * @param names skips those that are not control tokens here
 */
export function showingTokens(tokenizer: Tokenizer, names: readonly string[]): Tokenizer {
  const shown = new Map<number, string>();
  for (const name of names) {
    const id = tokenizer.specialNames?.get(name);
    if (id !== undefined && tokenizer.specialIds.has(id)) shown.set(id, name);
  }
  if (shown.size === 0) return tokenizer;
  const innerText = decodingInside(tokenizer);
  return {
    ...tokenizer,
    specialIds: new Set([...tokenizer.specialIds].filter((id) => !shown.has(id))),
    decode(ids) {
      let text = '';
      let run: number[] = [];
      const flush = (): void => {
        text += text === '' ? tokenizer.decode(run) : innerText(run);
        run = [];
      };
      for (const id of ids) {
        const name = shown.get(id);
        if (name === undefined) run.push(id);
        else {
          flush();
          text += name;
        }
      }
      flush();
      return text;
    },
    bytesOf(id) {
      const name = shown.get(id);
      return name === undefined ? tokenizer.bytesOf?.(id) : new TextEncoder().encode(name);
    },
  };
}
