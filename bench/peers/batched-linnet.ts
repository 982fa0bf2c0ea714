/** Linnet with many texts in one step, as in its server, and a session resumed from its bytes. */
import { chain } from '../../src/attention/tree.ts';
import { Sampler } from '../../src/decoding/sampler.ts';
import { decodeSession, encodeSession, restoreSession, saveSession } from '../../src/decoding/state/session-file.ts';
import type { SequenceState } from '../../src/decoding/state/sequence-state.ts';
import { fillState } from '../../src/evaluation/speed/decoding-speed.ts';
import { Random } from '../../src/random.ts';
import { type Cost, costOf } from './cost.ts';
import { someTokens } from './measurement.ts';
import { openReady, type ReadyModel } from '../../test/open/ready-model.ts';

const tokens = someTokens(1 << 17, 32_000);
const oneNode = chain(1);

/** One model's texts. Dispose of them. */
export class BatchedLinnet implements AsyncDisposable {
  readonly #exported: ReadyModel;
  readonly #streams: number;
  readonly #states = new Map<number, readonly SequenceState[]>();
  readonly #random = new Random(5);

  private constructor(exported: ReadyModel, streams: number) {
    this.#exported = exported;
    this.#streams = streams;
  }

  static async open(folder: string, options: { streams: number; threads: number }): Promise<BatchedLinnet> {
    return new BatchedLinnet(await openReady(folder, { threads: options.threads }), options.streams);
  }

  /** The cost of one step of all texts, each `length` tokens long. The state's content does not affect it. */
  async decode(length: number, steps: number): Promise<Cost> {
    const states = this.#states.get(length) ?? Array.from({ length: this.#streams }, () => this.#filledState(length));
    this.#states.set(length, states);
    return this.#steps(states, length, steps);
  }

  /** Many continuations of one text: copies its state and adds some tokens to each. Needs no file. */
  async fork(_file: string, length: number, steps: number): Promise<Cost> {
    const state = await this.#read(length);
    return costOf(async () => {
      const states = Array.from({ length: this.#streams }, () => state.fork());
      await this.#steps(states, length, steps);
    });
  }

  /** Takes one untimed step of all states, then returns the cost of one. */
  async #steps(states: readonly SequenceState[], length: number, steps: number): Promise<Cost> {
    const { engine } = this.#exported;
    const sampler = new Sampler({ temperature: 0 });
    let next = states.map((_, index) => tokens[length + index]);
    const step = async (): Promise<void> => {
      const requests = states.map((state, index) => ({ state, tree: oneNode, tokens: [next[index]], wanted: [0] }));
      const outputs = await engine.step(requests);
      for (const [index, request] of requests.entries()) await engine.commit(request, outputs[index], [0]);
      next = outputs.map(({ logits }) => sampler.next(logits[0], []));
    };
    await step();
    const all = await costOf(async () => {
      for (let done = 0; done < steps; done++) await step();
    });
    return { wall: all.wall / steps, processor: all.processor / steps };
  }

  /** The size of a text's session in bytes. */
  bytes(length: number): number {
    return this.#session(length).length;
  }

  /** The first token of a turn in a session restored from its file's bytes. */
  async turn(length: number, added: number): Promise<Cost> {
    const { engine, fingerprint } = this.#exported;
    const bytes = this.#session(length);
    return costOf(async () => {
      const { state } = await decodeSession(bytes, engine, fingerprint);
      await this.#firstToken(state, tokens.slice(length, length + added));
    });
  }

  /** Reads a text and saves its session. */
  async save(file: string, length: number): Promise<void> {
    const { fingerprint } = this.#exported;
    await saveSession(file, { state: await this.#read(length), tokens: tokens.slice(0, length + 1), fingerprint });
  }

  /** The first token of a turn in a session restored from a file. */
  async resume(file: string, length: number, added: number): Promise<Cost> {
    const { engine, fingerprint } = this.#exported;
    return costOf(async () => {
      const { state } = await restoreSession(file, engine, fingerprint);
      await this.#firstToken(state, tokens.slice(length, length + added));
    });
  }

  /** The same after rereading the text from its beginning. */
  async reread(length: number, added: number): Promise<Cost> {
    return costOf(() => this.#firstToken(this.#exported.engine.newState(), tokens.slice(0, length + added)));
  }

  async #firstToken(state: SequenceState, text: readonly number[]): Promise<number> {
    const { logits } = await this.#exported.engine.prefill(state, text);
    return new Sampler({ temperature: 0 }).next(logits, []);
  }

  async #read(length: number): Promise<SequenceState> {
    const state = this.#exported.engine.newState();
    await this.#exported.engine.prefill(state, tokens.slice(0, length));
    return state;
  }

  #session(length: number): Uint8Array {
    const { fingerprint } = this.#exported;
    return encodeSession({ state: this.#filledState(length), tokens: tokens.slice(0, length + 1), fingerprint });
  }

  #filledState(length: number): SequenceState {
    const state = this.#exported.engine.newState();
    fillState(state, length, this.#random);
    return state;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#exported[Symbol.asyncDispose]();
  }
}
