/** Bounds of a JSON text, found by one look at its bytes, before a parser builds a thousand times their size of objects. */
import { LinnetError } from '../errors.ts';

export interface JsonLimits {
  /** Deepest nesting of objects and arrays. Default 64: code that walks over the parsed value may recurse. */
  readonly depth?: number;
  /** Most objects and arrays. Default 5·10⁶; a tokenizer of 500,000 merges, each a pair, has a tenth of it. */
  readonly containers?: number;
  /** Most values, keys not counted. Default 3·10⁷. */
  readonly values?: number;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPENING = [0x5b, 0x7b];
const CLOSING = [0x5d, 0x7d];

/**
 * Refuses a text beyond the bounds; whether it is JSON otherwise is the parser's to say. Linear in bytes, keeps nothing.
 * @param label the subject of error messages
 * @throws LinnetError `FORMAT`
 */
export function checkJsonLimits(bytes: Uint8Array, label: string, limits: JsonLimits = {}): void {
  const { depth: deepest = 64, containers: mostContainers = 5e6, values: mostValues = 3e7 } = limits;
  const refuse = (what: string): never => {
    throw new LinnetError('FORMAT', `${label} ${what}, more than anything of its kind has; it is not read`);
  };
  let depth = 0;
  let containers = 0;
  let values = 0;
  let inString = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (inString) {
      if (byte === BACKSLASH) i++;
      else if (byte === QUOTE) inString = false;
    } else if (byte === QUOTE) {
      inString = true;
    } else if (OPENING.includes(byte)) {
      if (++depth > deepest) refuse(`is nested deeper than ${deepest} levels`);
      if (++containers > mostContainers) refuse(`has more than ${mostContainers} objects and lists`);
    } else if (CLOSING.includes(byte)) {
      depth--;
    } else if (byte === COMMA && ++values > mostValues) {
      refuse(`has more than ${mostValues} values`);
    }
  }
}
