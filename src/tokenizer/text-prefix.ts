/**
 * The blank that a tokenizer puts before a text ("dummy prefix" of SentencePiece), and the tokenizer without it: a text that
 * goes on has no second beginning.
 */
import { isJsonObject, type JsonObject } from '../files/json-object.ts';

/** Before which parts of a text the blank is put: none, the first, or every one, control tokens standing between them. */
export type PrefixScheme = 'none' | 'first' | 'always';

/** The scheme of a tokenizer.json, and the file without the prefix. */
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

/** A section without the parts that put the blank; undefined where nothing is left of it. */
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
