/** Remembers the tokens of earlier prompts' texts. */
import { LRUCache } from 'lru-cache';

/** Most characters remembered. */
const mostRemembered = 1 << 20;

/** The most recently used texts. */
export class TextMemory extends LRUCache<string, Int32Array> {
  constructor() {
    super({ maxSize: mostRemembered, sizeCalculation: (_tokens, text) => text.length });
  }
}
