/**
 * llama.cpp with many sequences in one context, as in a server: node-llama-cpp combines their requests into one
 * batch. A text is read once and saved to a file, which fills every sequence.
 */
import { rm, stat } from 'node:fs/promises';
import type { Llama, LlamaContextSequence, Token } from 'node-llama-cpp';
import { type Cost, costOf } from './cost.ts';
import { someTokens } from './measurement.ts';
import { openLlama } from './open-llama.ts';

const tokens = someTokens(1 << 17, 32_000) as Token[];

/** One model's sequences. Dispose of them. */
export class BatchedLlama implements AsyncDisposable {
  /** Version and threads, for the report. */
  readonly notes: string;
  readonly #llama: Llama;
  readonly #sequences: readonly LlamaContextSequence[];
  readonly #folder: string;
  readonly #filled = new Set<string>();

  private constructor(llama: Llama, sequences: readonly LlamaContextSequence[], folder: string, notes: string) {
    this.#llama = llama;
    this.#sequences = sequences;
    this.#folder = folder;
    this.notes = notes;
  }

  /** @param longest tokens per sequence @param folder for saved states */
  static async open(
    modelPath: string,
    { streams, longest, threads, folder }: { streams: number; longest: number; threads: number; folder: string },
  ): Promise<BatchedLlama> {
    const llama = await openLlama(threads);
    const model = await llama.loadModel({ modelPath, ignoreMemorySafetyChecks: true });
    const context = await model.createContext({
      contextSize: longest,
      sequences: streams,
      batchSize: 512,
      threads,
      ignoreMemorySafetyChecks: true,
    });
    const sequences = Array.from({ length: streams }, () => context.getSequence());
    const notes = `${llama.llamaCppRelease.release} through node-llama-cpp, ${context.currentThreads || threads} threads`;
    return new BatchedLlama(llama, sequences, folder, notes);
  }

  /** Reads a text from its beginning and saves the state at each of `lengths`. @returns the cost of each length */
  async read(lengths: readonly number[]): Promise<Map<number, Cost>> {
    const [first] = this.#sequences;
    await first.clearHistory();
    const costs = new Map<number, Cost>();
    let read = 0;
    let total: Cost = { wall: 0, processor: 0 };
    for (const length of [...lengths].sort((a, b) => a - b)) {
      const part = await costOf(() => first.evaluateWithoutGeneratingNewTokens(tokens.slice(read, length)));
      total = { wall: total.wall + part.wall, processor: total.processor + part.processor };
      costs.set(length, total);
      read = length;
      await first.saveStateToFile(this.#file(length));
      this.#filled.add(this.#file(length));
    }
    return costs;
  }

  /** The size of a saved state in bytes. */
  async bytes(length: number): Promise<number> {
    return (await stat(this.#file(length))).size;
  }

  /** The cost of one step of all sequences after an already read text. */
  async decode(length: number, steps: number): Promise<Cost> {
    await this.#fill(this.#file(length));
    return this.#steps(length, steps);
  }

  /** Many continuations of one text: node-llama-cpp copies a sequence through a file. */
  async fork(file: string, length: number, steps: number): Promise<Cost> {
    await this.save(file, length);
    return costOf(async () => {
      await this.#fill(file);
      await this.#steps(length, steps);
    });
  }

  async #fill(file: string): Promise<void> {
    for (const sequence of this.#sequences) {
      await sequence.clearHistory();
      await sequence.loadStateFromFile(file, { acceptRisk: true });
    }
  }

  /** Takes one untimed step of all sequences, then returns the cost of one. */
  async #steps(length: number, steps: number): Promise<Cost> {
    const continued = this.#sequences.map((sequence, index) =>
      sequence.evaluate([tokens[length + index]], { temperature: 0, yieldEogToken: true }),
    );
    const step = (): Promise<unknown> => Promise.all(continued.map((generated) => generated.next()));
    await step();
    const all = await costOf(async () => {
      for (let done = 0; done < steps; done++) await step();
    });
    await Promise.all(continued.map((generated) => generated.return(undefined)));
    return { wall: all.wall / steps, processor: all.processor / steps };
  }

  /** The first token of a turn after a text still in the context. */
  async turn(length: number, added: number): Promise<Cost> {
    const [first] = this.#sequences;
    await first.clearHistory();
    await first.loadStateFromFile(this.#file(length), { acceptRisk: true });
    return costOf(() => this.#firstToken(tokens.slice(length, length + added)));
  }

  /** Reads a text and saves its state. */
  async save(file: string, length: number): Promise<void> {
    const [first] = this.#sequences;
    await first.clearHistory();
    await first.evaluateWithoutGeneratingNewTokens(tokens.slice(0, length));
    await first.saveStateToFile(file);
  }

  /** The first token of a turn after a text whose state is in a file. */
  async resume(file: string, length: number, added: number): Promise<Cost> {
    const [first] = this.#sequences;
    return costOf(async () => {
      await first.loadStateFromFile(file, { acceptRisk: true });
      await this.#firstToken(tokens.slice(length, length + added));
    });
  }

  /** The same after rereading the text from its beginning. */
  async reread(length: number, added: number): Promise<Cost> {
    await this.#sequences[0].clearHistory();
    return costOf(() => this.#firstToken(tokens.slice(0, length + added)));
  }

  async #firstToken(text: Token[]): Promise<void> {
    const generated = this.#sequences[0].evaluate(text, { temperature: 0, yieldEogToken: true });
    await generated.next();
    await generated.return(undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#llama.dispose();
    for (const file of this.#filled) await rm(file, { force: true });
  }

  #file(length: number): string {
    return `${this.#folder}/read-${length}.state`;
  }
}
