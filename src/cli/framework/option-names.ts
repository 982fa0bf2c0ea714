/** Names of options: keys in code and in the messages of the library, flags on the command line. */

/** `maxTokens` → `--max-tokens`. */
export function flagName(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** A text of the library with flags where it has keys of these options in backquotes. */
export function inFlags(text: string, keys: ReadonlySet<string>): string {
  return text.replace(/`(\w+)`/g, (quoted, key: string) => (keys.has(key) ? flagName(key) : quoted));
}
