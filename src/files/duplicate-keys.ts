/**
 * Finds a key that one JSON object holds twice. JSON.parse keeps the last one silently, so that two readers of the same
 * file can see different tensors under one name; safetensors therefore forbids it.
 */

/**
 * The first key that occurs twice in the same object of a JSON text, or undefined. Keys are compared after unescaping.
 * The text must already have passed JSON.parse: the scanner relies on it being well-formed. One pass, linear time.
 */
export function findDuplicateKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = []; // keys of each open object; undefined for an array
  let awaitingKey = false;
  for (let i = 0; i < text.length; i++) {
    switch (text[i]) {
      case '"': {
        const end = endOfString(text, i);
        if (awaitingKey) {
          const key = decodeKey(text.slice(i, end + 1));
          const keys = open.at(-1);
          if (keys?.has(key)) return key;
          keys?.add(key);
          awaitingKey = false;
        }
        i = end;
        break;
      }
      case '{':
        open.push(new Set());
        awaitingKey = true;
        break;
      case '[':
        open.push(undefined);
        awaitingKey = false;
        break;
      case '}':
      case ']':
        open.pop();
        awaitingKey = false;
        break;
      case ',':
        awaitingKey = open.at(-1) !== undefined;
        break;
    }
  }
  return undefined;
}

/** Index of the quote that closes the string opened at `start`. */
function endOfString(text: string, start: number): number {
  let i = start + 1;
  while (i < text.length && text[i] !== '"') i += text[i] === '\\' ? 2 : 1;
  return i;
}

function decodeKey(literal: string): string {
  return literal.includes('\\') ? String(JSON.parse(literal)) : literal.slice(1, -1);
}
