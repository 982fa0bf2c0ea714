/** A vocabulary's bytes as a tree, and which tokens a machine allows next. */
import { tokenBytes } from '../../tokenizer/token-bytes.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { ByteMachine, MachineState } from './byte-machine.ts';
import { atOnce, type Sliced, SlicedWork } from './slices.ts';

/** Nodes, or machine steps, between two places where a computation can pause. */
const sliceWork = 4096;

/** Tokens whose bytes begin alike share the nodes of that beginning. Node 0 is the root; 0 elsewhere means none. */
interface TrieNodes {
  readonly byte: Uint8Array;
  readonly firstChild: Int32Array;
  readonly sibling: Int32Array;
  /** The last of the tokens with these bytes, plus one. */
  readonly token: Int32Array;
  /** By token: the previous token with the same bytes, plus one: [V]. */
  readonly sameBytes: Int32Array;
}

/** A vocabulary's tokens by their bytes. Built once, on first use, for any number of constraints. */
export class TokenTrie {
  /** V: the number of logits. */
  readonly vocabulary: number;
  /** Work on masks, one after the other. */
  readonly work = new SlicedWork();
  readonly #tokenizer: Tokenizer;
  readonly #bytesOf: (token: number) => Uint8Array | undefined;
  #nodes: TrieNodes | undefined;

  /** @param vocabulary the model's V; may exceed the tokenizer's number of tokens */
  constructor(tokenizer: Tokenizer, vocabulary: number) {
    this.vocabulary = vocabulary;
    this.#tokenizer = tokenizer;
    this.#bytesOf = tokenBytes(tokenizer);
  }

  /** The state after a token; null if it does not fit. Tokens without bytes, such as control tokens, change nothing. */
  step(machine: ByteMachine, state: MachineState, token: number): MachineState | null {
    let reached: MachineState | null = state;
    for (const byte of token < this.#tokenizer.vocabularySize ? (this.#bytesOf(token) ?? []) : []) {
      if (reached === null) return null;
      reached = machine.step(reached, byte);
    }
    return reached;
  }

  /** 1 for tokens whose bytes all fit, else 0: [V]. */
  mask(machine: ByteMachine, state: MachineState): Uint8Array {
    return atOnce(this.slicedMask(machine, state));
  }

  /** `mask` in slices. */
  *slicedMask(machine: ByteMachine, state: MachineState): Sliced<Uint8Array> {
    this.#nodes ??= yield* this.#build();
    const { byte, firstChild, sibling, token, sameBytes } = this.#nodes;
    const mask = new Uint8Array(this.vocabulary);
    const nodes = [firstChild[0]];
    const states = [state];
    let visited = 0;
    let next = machine.steps + sliceWork;
    for (let at = states.pop(); at !== undefined; at = states.pop()) {
      for (let node = nodes.pop() ?? 0; node !== 0; node = sibling[node]) {
        if (++visited + machine.steps > next) {
          next = visited + machine.steps + sliceWork;
          yield;
        }
        const after = machine.step(at, byte[node]);
        if (after === null) continue;
        for (let same = token[node]; same !== 0; same = sameBytes[same - 1]) mask[same - 1] = 1;
        if (firstChild[node] === 0) continue;
        nodes.push(firstChild[node]);
        states.push(after);
      }
    }
    return mask;
  }

  *#build(): Sliced<TrieNodes> {
    const ids = Math.min(this.vocabulary, this.#tokenizer.vocabularySize);
    const spelled: (Uint8Array | undefined)[] = [];
    let most = 1;
    for (let id = 0; id < ids; id++) {
      const bytes = this.#bytesOf(id);
      spelled.push(bytes);
      most += bytes?.length ?? 0;
      if (id % 512 === 511) yield;
    }
    const sameBytes = new Int32Array(this.vocabulary);
    const [byte, firstChild] = [new Uint8Array(most), new Int32Array(most)];
    const [sibling, token] = [new Int32Array(most), new Int32Array(most)];
    let count = 1;
    for (const [id, bytes] of spelled.entries()) {
      if (id % 512 === 511) yield;
      if (bytes === undefined || bytes.length === 0) continue;
      let node = 0;
      for (const value of bytes) {
        let child = firstChild[node];
        while (child !== 0 && byte[child] !== value) child = sibling[child];
        if (child === 0) {
          child = count++;
          byte[child] = value;
          sibling[child] = firstChild[node];
          firstChild[node] = child;
        }
        node = child;
      }
      sameBytes[id] = token[node];
      token[node] = id + 1;
    }
    return {
      byte: byte.slice(0, count),
      firstChild: firstChild.slice(0, count),
      sibling: sibling.slice(0, count),
      token: token.slice(0, count),
      sameBytes,
    };
  }
}
