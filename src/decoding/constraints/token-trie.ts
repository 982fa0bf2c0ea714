/** The bytes of a vocabulary as a tree, and which tokens a machine lets follow. */
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { tokenBytes } from '../../tokenizer/token-bytes.ts';
import type { ByteMachine, MachineState } from './byte-machine.ts';

/** Tokens whose bytes begin alike share the nodes of their beginnings. */
interface TrieNode {
  readonly tokens: number[];
  readonly children: Map<number, TrieNode>;
}

/** The tokens of a vocabulary by their bytes. Made once, for any number of constraints. */
export class TokenTrie {
  /** V: as many as there are logits. */
  readonly vocabulary: number;
  readonly #root: TrieNode = { tokens: [], children: new Map() };
  readonly #bytes: (Uint8Array | undefined)[];

  /** @param vocabulary V of the model, which may have more rows than the tokenizer has tokens */
  constructor(tokenizer: Tokenizer, vocabulary: number) {
    this.vocabulary = vocabulary;
    const bytesOf = tokenBytes(tokenizer);
    this.#bytes = Array.from({ length: vocabulary }, (_, id) =>
      id < tokenizer.vocabularySize ? bytesOf(id) : undefined,
    );
    for (const [id, bytes] of this.#bytes.entries())
      if (bytes !== undefined && bytes.length > 0) this.#insert(id, bytes);
  }

  /** The state after a token; null where it does not fit. Tokens without bytes, as control tokens are, change nothing. */
  step(machine: ByteMachine, state: MachineState, token: number): MachineState | null {
    let reached: MachineState | null = state;
    for (const byte of this.#bytes[token] ?? []) {
      if (reached === null) return null;
      reached = machine.step(reached, byte);
    }
    return reached;
  }

  /** 1 for tokens all of whose bytes fit, else 0: [V]. */
  mask(machine: ByteMachine, state: MachineState): Uint8Array {
    const mask = new Uint8Array(this.vocabulary);
    const walk = (node: TrieNode, at: MachineState): void => {
      for (const [byte, child] of node.children) {
        const after = machine.step(at, byte);
        if (after === null) continue;
        for (const token of child.tokens) mask[token] = 1;
        walk(child, after);
      }
    };
    walk(this.#root, state);
    return mask;
  }

  #insert(id: number, bytes: Uint8Array): void {
    let node = this.#root;
    for (const byte of bytes) {
      let child = node.children.get(byte);
      if (child === undefined) {
        child = { tokens: [], children: new Map() };
        node.children.set(byte, child);
      }
      node = child;
    }
    node.tokens.push(id);
  }
}
