/**
 * The blank that a tokenizer puts before a text (SentencePiece's "dummy prefix"), and the tokenizer without it: a continued
 * text does not begin again.
 */
import { isJsonObject, type JsonObject } from '../files/json-object.ts';

/** Which parts of a text get the blank: none, the first, or each part between control tokens. */
export type PrefixScheme = 'none' | 'first' | 'always';

/** A tokenizer.json's scheme, and the file without the prefix. */
export function textPrefix(tokenizerJson: JsonObject): { readonly scheme: PrefixScheme; readonly without: JsonObject } {
  const schemes = new Set<PrefixScheme>();
  const without = {
    ...tokenizerJson,
    normalizer: withoutPrefix(tokenizerJson.normalizer, schemes) ?? null,
    pre_tokenizer: withoutPrefix(tokenizerJson.pre_tokenizer, schemes) ?? null,
  };
  const scheme = (['always', 'first'] as const).find((one) => schemes.has(one)) ?? 'none';
  return { scheme, without };
}

/** A section without the parts that add the blank; undefined if nothing is left. */
function withoutPrefix(section: unknown, schemes: Set<PrefixScheme>): unknown {
  if (!isJsonObject(section)) return section;
  const { type, add_prefix_space: added, prepend_scheme: scheme } = section;
  if (type === 'Prepend') {
    schemes.add('always');
    return undefined;
  }
  if (type === 'Metaspace' && scheme !== 'never' && added !== false) {
    schemes.add(scheme === 'first' ? 'first' : 'always');
    return { ...section, prepend_scheme: 'never', add_prefix_space: false };
  }
  if (type === 'ByteLevel' && added === true) {
    schemes.add('always');
    return { ...section, add_prefix_space: false };
  }
  if (type !== 'Sequence') return section;
  const key = ['normalizers', 'pretokenizers'].find((name) => Array.isArray(section[name]));
  const parts = key === undefined ? undefined : section[key];
  if (key === undefined || !Array.isArray(parts)) return section;
  const kept = parts.map((part: unknown) => withoutPrefix(part, schemes)).filter((part) => part !== undefined);
  return { ...section, [key]: kept };
}
