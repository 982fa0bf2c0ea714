/** Tokens of the texts of earlier prompts. */
import { LRUCache } from 'lru-cache';

/** Characters of remembered texts. */
const mostRemembered = 1 << 20;

/** The last texts used. */
export class TextMemory extends LRUCache<string, Int32Array> {
  constructor() {
    super({ maxSize: mostRemembered, sizeCalculation: (_tokens, text) => text.length });
  }
}
