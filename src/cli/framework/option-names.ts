/** Names of options: keys in code and in the messages of the library, flags or settings on the command line. */

/** `maxTokens` → `--max-tokens`. */
export function flagName(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** A text of the library with the names of the command line where it has keys in backquotes. @param nameOf undefined for other words */
export function inFlags(text: string, nameOf: (key: string) => string | undefined): string {
  return text.replace(/`(\w+)`/g, (quoted, key: string) => nameOf(key) ?? quoted);
}
