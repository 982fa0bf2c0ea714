/** The schemas that are asked of one model, made ready when they are first asked for. */
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { JsonConstraint } from './json-constraint.ts';
import { TokenTrie } from './token-trie.ts';

/** Schemas that are kept ready. */
const mostSchemas = 16;

export class JsonSchemas {
  readonly #tokenizer: Tokenizer;
  readonly #vocabulary: number;
  readonly #ready = new Map<string, JsonConstraint>();
  #trie: TokenTrie | undefined;

  /** @param vocabulary V of the model */
  constructor(tokenizer: Tokenizer, vocabulary: number) {
    this.#tokenizer = tokenizer;
    this.#vocabulary = vocabulary;
  }

  /**
   * The constraint of a schema.
   * @param ends tokens that end a text
   * @throws LinnetError as `JsonConstraint`
   */
  constraint(schema: unknown, ends: readonly number[]): JsonConstraint {
    const key = `${ends.join()} ${JSON.stringify(schema)}`;
    const known = this.#ready.get(key);
    this.#trie ??= new TokenTrie(this.#tokenizer, this.#vocabulary);
    const constraint = known ?? new JsonConstraint(schema, this.#trie, ends);
    // The map is ordered by last use.
    this.#ready.delete(key);
    const [oldest] = this.#ready.keys();
    if (oldest !== undefined && this.#ready.size >= mostSchemas) this.#ready.delete(oldest);
    this.#ready.set(key, constraint);
    return constraint;
  }
}
