/** Which tokens may come next in texts of a grammar, such as a schema's JSON. */
import { LinnetError } from '../../errors.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { TokenConstraint } from '../sampler.ts';
import { ByteMachine, type MachineState } from './byte-machine.ts';
import { schemaGrammar } from './json-schema.ts';
import type { Grammar } from './pattern.ts';
import { atOnce, type Sliced } from './slices.ts';
import { TokenTrie } from './token-trie.ts';

/** Bytes of one grammar's masks (at least one mask stays), and of all grammars that a model keeps. */
const most = { maskBytes: 8 << 20, grammarBytes: 128 << 20 };

/** A grammar prepared for a vocabulary, for any number of texts. */
export class GrammarConstraint {
  /** Called when `bytes` may have grown. */
  onGrowth: (() => void) | undefined;
  readonly #trie: TokenTrie;
  readonly #machine: ByteMachine;
  /** Tokens that fit each state, for one generation of the machine. */
  readonly #masks = new Map<MachineState, Uint8Array>();
  readonly #ends: readonly number[];
  #generation = 0;
  /** Texts whose mask is being computed: states must last as long. */
  #working = 0;

  /**
   * @param trie the model's vocabulary
   * @param ends tokens that end a text; allowed only when it is complete
   * @throws LinnetError `INPUT` for too large a grammar; `CONFIG` for a model without an end token
   */
  constructor(grammar: Grammar, trie: TokenTrie, ends: readonly number[]) {
    if (ends.length === 0) throw new LinnetError('CONFIG', 'the model has no EOS token to end the text with');
    this.#trie = trie;
    this.#machine = new ByteMachine(grammar);
    this.#ends = ends;
  }

  /** Estimated memory of states and masks. */
  get bytes(): number {
    return this.#machine.bytes + this.#masks.size * this.#trie.vocabulary;
  }

  /**
   * The constraint for one text. It throws `INPUT` if the grammar does not accept the text, or if more of the grammar is
   * open than its budget of steps and bytes allows (`MachineBudget`).
   * @param position where in the text the grammar's part begins: the length of the prompt
   */
  after(position: number): TokenConstraint {
    const path = new TextPath(this.#machine, this.#trie, position);
    const constraint: TokenConstraint = (text) => {
      this.#nextToken();
      return this.#withEnds(atOnce(this.#mask(path, text)));
    };
    constraint.ready = (text) => {
      if (path.isCurrent && this.#masks.has(path.step(text))) return undefined;
      return this.#trie.work.run(() => {
        this.#nextToken();
        return this.#held(path, text);
      });
    };
    return constraint;
  }

  *#held(path: TextPath, text: ArrayLike<number>): Sliced<void> {
    this.#working++;
    try {
      yield* this.#mask(path, text);
    } finally {
      this.#working--;
      this.onGrowth?.();
    }
  }

  #nextToken(): void {
    if (this.#working > 0) return;
    this.#machine.nextToken();
    if (this.#generation === this.#machine.generation) return;
    this.#generation = this.#machine.generation;
    this.#masks.clear();
  }

  *#mask(path: TextPath, text: ArrayLike<number>): Sliced<{ state: MachineState; mask: Uint8Array }> {
    const state = yield* path.follow(text);
    const mask = this.#masks.get(state) ?? (yield* this.#trie.slicedMask(this.#machine, state));
    this.#masks.delete(state);
    const [oldest] = this.#masks.keys();
    if (oldest !== undefined && (this.#masks.size + 1) * mask.length > most.maskBytes) this.#masks.delete(oldest);
    this.#masks.set(state, mask);
    return { state, mask };
  }

  #withEnds({ state, mask }: { state: MachineState; mask: Uint8Array }): Uint8Array {
    const allowed = state.accepts ? mask.slice() : mask;
    if (state.accepts) for (const id of this.#ends) allowed[id] = 1;
    if (allowed.includes(1)) return allowed;
    throw new LinnetError('INPUT', 'no token of the model continues the text as the schema requires');
  }
}

/** A machine's states along a text. */
class TextPath {
  readonly #machine: ByteMachine;
  readonly #trie: TokenTrie;
  readonly #position: number;
  /** States after each token of the text, starting at `position`. */
  readonly #states: MachineState[] = [];
  readonly #read: number[] = [];
  #generation = 0;

  constructor(machine: ByteMachine, trie: TokenTrie, position: number) {
    this.#machine = machine;
    this.#trie = trie;
    this.#position = position;
  }

  /** Whether the states belong to the machine's current generation. */
  get isCurrent(): boolean {
    return this.#generation === this.#machine.generation;
  }

  /** The state after a text. @throws LinnetError `INPUT` if the grammar does not accept it */
  step(text: ArrayLike<number>): MachineState {
    return atOnce(this.follow(text));
  }

  /** `step` in slices. */
  *follow(text: ArrayLike<number>): Sliced<MachineState> {
    const [states, read] = [this.#states, this.#read];
    if (!this.isCurrent || states.length === 0) {
      this.#generation = this.#machine.generation;
      read.length = 0;
      states.splice(0, states.length, this.#machine.start);
    }
    const first = this.#position;
    let same = 0;
    while (same < read.length && first + same < text.length && read[same] === text[first + same]) same++;
    read.length = same;
    states.length = same + 1;
    for (let place = first + same; place < text.length; place++) {
      const state = this.#trie.step(this.#machine, states[place - first], text[place]);
      if (state === null) {
        throw new LinnetError('INPUT', 'the schema does not accept the text; start with less of it');
      }
      read.push(text[place]);
      states.push(state);
      if (read.length % 16 === 0) yield;
    }
    return states[states.length - 1];
  }
}

/**
 * A schema prepared for a vocabulary.
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
   * @param trie the model's vocabulary
   * @param ends tokens that end a text; allowed only when it is complete
   * @throws LinnetError `INPUT` for a schema that is malformed, too large, or outside the supported grammar; `CONFIG` for a
   *   model without an end token
   */
  constructor(schema: unknown, trie: TokenTrie, ends: readonly number[]) {
    super(schemaGrammar(schema), trie, ends);
  }
}

/** One model's grammars, each prepared on first use. */
export class Grammars {
  readonly #tokenizer: Tokenizer;
  readonly #vocabulary: number;
  readonly #ready = new Map<string, GrammarConstraint>();
  #trie: TokenTrie | undefined;

  /** @param vocabulary the model's V */
  constructor(tokenizer: Tokenizer, vocabulary: number) {
    this.#tokenizer = tokenizer;
    this.#vocabulary = vocabulary;
  }

  /**
   * The constraint for a JSON schema.
   * @param ends tokens that end a text
   * @throws LinnetError like `JsonConstraint`
   */
  json(schema: unknown, ends: readonly number[]): GrammarConstraint {
    return this.constraint(`json ${JSON.stringify(schema)}`, () => schemaGrammar(schema), ends);
  }

  /**
   * The constraint for a grammar.
   * @param name identifies it
   * @throws LinnetError like `GrammarConstraint` and `grammar`
   */
  constraint(name: string, grammar: () => Grammar, ends: readonly number[]): GrammarConstraint {
    const key = `${ends.join()} ${name}`;
    let ready = this.#ready.get(key);
    if (ready === undefined) {
      this.#trie ??= new TokenTrie(this.#tokenizer, this.#vocabulary);
      ready = new GrammarConstraint(grammar(), this.#trie, ends);
      ready.onGrowth = () => {
        this.#forget();
      };
    }
    this.#ready.delete(key);
    this.#ready.set(key, ready);
    this.#forget();
    return ready;
  }

  /** Keeps the most recent grammars that fit in the bytes. */
  #forget(): void {
    let bytes = 0;
    for (const [key, constraint] of [...this.#ready].reverse()) {
      bytes += 2 * key.length + constraint.bytes;
      if (bytes > most.grammarBytes) this.#ready.delete(key);
    }
  }
}
