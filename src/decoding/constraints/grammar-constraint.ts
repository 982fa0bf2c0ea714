/** Texts of a grammar, JSON of a schema among them: which tokens may come next. */
import { LinnetError } from '../../errors.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { TokenConstraint } from '../sampler.ts';
import { ByteMachine, type MachineState } from './byte-machine.ts';
import { schemaGrammar } from './json-schema.ts';
import type { Grammar } from './pattern.ts';
import { TokenTrie } from './token-trie.ts';

/** Masks kept for each schema, and schemas for each model. */
const mostMasks = 256;
const mostSchemas = 16;

/** A grammar made ready for a vocabulary, for any number of texts. */
export class GrammarConstraint {
  readonly #trie: TokenTrie;
  readonly #machine: ByteMachine;
  /** Tokens that fit each state. */
  readonly #masks = new Map<MachineState, Uint8Array>();
  readonly #ends: readonly number[];

  /**
   * @param trie the vocabulary of the model
   * @param ends tokens that end a text, and may come only when it is complete
   * @throws LinnetError `INPUT` for a grammar that is too large; `CONFIG` for a model without a token that ends texts
   */
  constructor(grammar: Grammar, trie: TokenTrie, ends: readonly number[]) {
    if (ends.length === 0) throw new LinnetError('CONFIG', 'the model has no EOS token, by which the text could end');
    this.#trie = trie;
    this.#machine = new ByteMachine(grammar);
    this.#ends = ends;
  }

  /**
   * The constraint of one text.
   * @param position where in the text the grammar's part begins: the length of the prompt
   */
  after(position: number): TokenConstraint {
    /** States after each token of the text, from the prompt's end on. */
    const states: (MachineState | null)[] = [this.#machine.start];
    const read: number[] = [];
    return (text) => {
      let same = 0;
      while (same < read.length && position + same < text.length && read[same] === text[position + same]) same++;
      read.length = same;
      states.length = same + 1;
      for (let place = position + same; place < text.length; place++) {
        const state: MachineState | null = states[place - position];
        read.push(text[place]);
        states.push(state === null ? null : this.#trie.step(this.#machine, state, text[place]));
      }
      return this.#allowed(states[states.length - 1]);
    };
  }

  #allowed(state: MachineState | null): Uint8Array {
    if (state === null)
      throw new LinnetError('INPUT', 'the text is not what the schema accepts; begin with less of it');
    const mask = kept(this.#masks, state, mostMasks, () => this.#trie.mask(this.#machine, state));
    const allowed = state.accepts ? mask.slice() : mask;
    if (state.accepts) for (const id of this.#ends) allowed[id] = 1;
    if (allowed.includes(1)) return allowed;
    throw new LinnetError('INPUT', 'no token of the model goes on with what the schema asks for');
  }
}

/**
 * A schema made ready for a vocabulary.
 * @example
 * ```ts
 * const trie = new TokenTrie(tokenizer, engine.model.sizes.vocabulary);
 * const json = new JsonConstraint({ type: 'object' }, trie, engine.model.eosIds);
 * const sampler = new Sampler({}, undefined, { constraint: json.after(promptTokens.length) });
 * ```
 */
export class JsonConstraint extends GrammarConstraint {
  /**
   * @param schema a JSON schema, parsed; `{ type: 'object' }` accepts any object
   * @param trie the vocabulary of the model
   * @param ends tokens that end a text, and may come only when it is complete
   * @throws LinnetError `INPUT` for a schema that is malformed, too large, or outside the supported grammar; `CONFIG`
   *   for a model without a token that ends texts
   */
  constructor(schema: unknown, trie: TokenTrie, ends: readonly number[]) {
    super(schemaGrammar(schema), trie, ends);
  }
}

/** The grammars that are asked of one model, made ready when they are first asked for. */
export class Grammars {
  readonly #tokenizer: Tokenizer;
  readonly #vocabulary: number;
  readonly #ready = new Map<string, GrammarConstraint>();
  #trie: TokenTrie | undefined;

  /** @param vocabulary V of the model */
  constructor(tokenizer: Tokenizer, vocabulary: number) {
    this.#tokenizer = tokenizer;
    this.#vocabulary = vocabulary;
  }

  /**
   * The constraint of a JSON schema.
   * @param ends tokens that end a text
   * @throws LinnetError as `JsonConstraint`
   */
  json(schema: unknown, ends: readonly number[]): GrammarConstraint {
    return this.constraint(`json ${JSON.stringify(schema)}`, () => schemaGrammar(schema), ends);
  }

  /**
   * The constraint of a grammar.
   * @param name tells it from all others
   * @throws LinnetError as `GrammarConstraint` and `grammar`
   */
  constraint(name: string, grammar: () => Grammar, ends: readonly number[]): GrammarConstraint {
    return kept(this.#ready, `${ends.join()} ${name}`, mostSchemas, () => {
      this.#trie ??= new TokenTrie(this.#tokenizer, this.#vocabulary);
      return new GrammarConstraint(grammar(), this.#trie, ends);
    });
  }
}

/** The value of a key, made where it is not in the map, which keeps the keys that were asked for last. */
function kept<Key, Value>(map: Map<Key, Value>, key: Key, most: number, make: () => Value): Value {
  const value = map.get(key) ?? make();
  map.delete(key);
  const [oldest] = map.keys();
  if (oldest !== undefined && map.size >= most) map.delete(oldest);
  map.set(key, value);
  return value;
}
