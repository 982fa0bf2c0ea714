/** References inside a JSON schema: JSON pointers (RFC 6901) as fragments of URIs. */

/** What `#/…` refers to in a schema; undefined if there is none. */
export function referenced(schema: unknown, target: string): { readonly schema: unknown } | undefined {
  let found: unknown = schema;
  for (const key of target.split('/').slice(1)) {
    const inside = new Map<string, unknown>(Object.entries(found ?? {}));
    const names = [key, decoded(key)].map((one) => one.replaceAll('~1', '/').replaceAll('~0', '~'));
    const name = names.find((one) => inside.has(one));
    if (name === undefined) return undefined;
    found = inside.get(name);
  }
  return { schema: found };
}

/** Without percent encoding; unchanged if it has none that is valid. */
function decoded(key: string): string {
  try {
    return decodeURIComponent(key);
  } catch {
    return key;
  }
}
