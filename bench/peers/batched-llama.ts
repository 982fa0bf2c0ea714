/**
 * llama.cpp with many sequences in one context, as a server has them: node-llama-cpp puts what all of them ask for into one
 * batch. What has been read once is kept in a file, from which every sequence is filled.
 */
import { rm, stat } from 'node:fs/promises';
import type { Llama, LlamaContextSequence, Token } from 'node-llama-cpp';
import { type Cost, costOf } from './cost.ts';
import { someTokens } from './measurement.ts';
import { openLlama } from './open-llama.ts';

const tokens = someTokens(1 << 17, 32_000) as Token[];

/** Sequences of one model. Dispose of them. */
export class BatchedLlama implements AsyncDisposable {
  /** What it is, for the report. */
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

  /** @param longest tokens that a sequence may have @param folder for files of what was read */
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

  /** Reads a text from its beginning; what is read before each of `lengths` is kept. The cost of each length. */
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

  /** Bytes of what is kept of a text. */
  async bytes(length: number): Promise<number> {
    return (await stat(this.#file(length))).size;
  }

  /** Tokens of all sequences after a text that has been read: the cost of one step of all. */
  async decode(length: number, steps: number): Promise<Cost> {
    for (const sequence of this.#sequences) {
      await sequence.clearHistory();
      await sequence.loadStateFromFile(this.#file(length), { acceptRisk: true });
    }
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

  /** The first token of a turn after a text that is still in the context. */
  async turn(length: number, added: number): Promise<Cost> {
    const [first] = this.#sequences;
    await first.clearHistory();
    await first.loadStateFromFile(this.#file(length), { acceptRisk: true });
    const part = tokens.slice(length, length + added);
    const generated = first.evaluate(part, { temperature: 0, yieldEogToken: true });
    const cost = await costOf(() => generated.next());
    await generated.return(undefined);
    return cost;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#llama.dispose();
    for (const file of this.#filled) await rm(file, { force: true });
  }

  #file(length: number): string {
    return `${this.#folder}/read-${length}.state`;
  }
}
