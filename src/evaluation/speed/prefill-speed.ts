/** Tokens per second of reading a prompt, against its length. */
import { promptChunk, type StepEngine } from '../../decoding/step-engine.ts';
import { LinnetError } from '../../errors.ts';
import { Random } from '../../random.ts';
import { timingOf, type Timing } from './timing.ts';

export interface PrefillSpeed {
  /** Tokens of the prompt. */
  readonly context: number;
  /** Reading all of it into an empty state. */
  readonly timing: Timing;
  readonly tokensPerSecond: number;
  /** Of the state that has read it. */
  readonly stateBytes: number;
}

export interface PrefillSpeedOptions {
  readonly contexts: readonly number[];
  /** Timed readings of each length; lengths take turns. Default 3. */
  readonly runs?: number;
  /** Tokens per step; default `promptChunk`. */
  readonly chunk?: number;
  readonly signal?: AbortSignal;
  /** Tokens read, of all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Times the reading of random prompts, after one chunk that is not counted. */
export async function prefillSpeed(engine: StepEngine, options: PrefillSpeedOptions): Promise<PrefillSpeed[]> {
  const { contexts, runs = 3, chunk = promptChunk, signal, onProgress } = options;
  const random = new Random(3);
  const prompt = (length: number): Int32Array =>
    Int32Array.from({ length }, () => random.integer(engine.model.sizes.vocabulary));
  const total = runs * contexts.reduce((sum, length) => sum + length, 0);
  await engine.prefill(engine.newState(), prompt(Math.min(chunk, Math.max(...contexts))), { chunk });
  const measured = contexts.map((context) => ({ context, samples: new Array<number>(), stateBytes: 0 }));
  let read = 0;
  for (let run = 0; run < runs; run++) {
    for (const row of measured) {
      if (signal?.aborted === true) throw new LinnetError('ABORTED', 'stopped while timing prompts');
      const state = engine.newState();
      const tokens = prompt(row.context);
      const before = read;
      const started = performance.now();
      await engine.prefill(state, tokens, { chunk, signal, onProgress: (done) => onProgress?.(before + done, total) });
      row.samples.push(performance.now() - started);
      row.stateBytes = state.bytes;
      read += row.context;
    }
  }
  return measured.map(({ context, samples, stateBytes }) => {
    const timing = timingOf(samples);
    return { context, timing, tokensPerSecond: (1000 * context) / timing.medianMs, stateBytes };
  });
}
