/** Sequential against speculative decoding of the same prompts, taking turns in one process. */
import type { StepEngine } from '../../decoding/step-engine.ts';
import { generateToEnd } from '../../engine/generate.ts';
import type { Generation } from '../../engine/text-job.ts';
import { type DecodingMethod, sequential } from '../../decoding/method.ts';
import { Sampler } from '../../decoding/sampler.ts';
import type { Drafter } from '../../decoding/speculation/drafters/drafter.ts';
import { AdaptiveSpeculation } from '../../decoding/speculation/adaptive-speculation.ts';
import { speculative } from '../../decoding/speculation/speculative.ts';
import { type RoundSeconds, SpeculationStatistics } from '../../decoding/speculation/statistics.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import { LinnetError } from '../../errors.ts';
import { timingOf } from './timing.ts';

/** Prompts of one length. */
export interface SpeculationPrompts {
  readonly context: number;
  readonly prompts: readonly Int32Array[];
}

export interface SpeculationSpeedOptions {
  readonly contexts: readonly SpeculationPrompts[];
  readonly temperatures: readonly number[];
  /** Tokens of a continuation. */
  readonly tokens: number;
  /** Every prompt is continued this often in every way; default 3. */
  readonly rounds?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/** One way of decoding at one context and temperature. */
export interface SpeculationSpeed {
  readonly context: number;
  readonly temperature: number;
  /** Median tokens per second over prompts and rounds. */
  readonly sequential: number;
  readonly speculative: number;
  /** With drafting that switches itself off where it does not pay. */
  readonly auto: number;
  /** Median of the ratios of neighbouring runs. */
  readonly ratio: number;
  readonly autoRatio: number;
  readonly tokensPerStep: number;
  readonly nodesPerStep: number;
  readonly acceptedByDepth: readonly number[];
  /** Where the time of speculative steps went, as shares of their sum. */
  readonly timeShares: RoundSeconds;
  /** Steps of `auto` that read a draft. */
  readonly autoSpeculated: number;
  /** Whether all texts were equal, token for token; undefined at temperatures above 0, where draws differ. */
  readonly identical?: boolean;
}

/** Drafts made anew for every text. */
export type MakeDrafter = () => Drafter;

/** Prompts are read once; every run continues a copy of that state. */
export async function speculationSpeed(
  engine: StepEngine,
  makeDrafter: MakeDrafter,
  options: SpeculationSpeedOptions,
): Promise<SpeculationSpeed[]> {
  const { contexts, temperatures, tokens, rounds = 3, signal, onProgress } = options;
  const total = contexts.reduce((sum, { prompts }) => sum + prompts.length, 0) * temperatures.length * rounds;
  let done = 0;
  const results: SpeculationSpeed[] = [];
  for (const { context, prompts } of contexts) {
    const read = [];
    for (const prompt of prompts) read.push({ prompt, state: await readBeginning(engine, prompt, signal) });
    for (const temperature of temperatures) {
      const runs = new Comparison();
      for (let round = 0; round < rounds; round++) {
        for (const { prompt, state } of read) {
          if (signal?.aborted === true) throw new LinnetError('ABORTED', 'stopped while timing speculation');
          await runs.add(
            (method) =>
              generateToEnd(engine, {
                promptTokens: prompt,
                maxTokens: tokens,
                sampler: new Sampler({ temperature, seed: round }),
                method,
                ignoreEos: true,
                state: state.fork(),
              }),
            makeDrafter,
          );
          onProgress?.(++done, total);
        }
      }
      results.push(runs.result(context, temperature));
    }
  }
  return results;
}

/** A state that has read all of a prompt but its last token, which `generate` needs to begin. */
async function readBeginning(
  engine: StepEngine,
  prompt: Int32Array,
  signal: AbortSignal | undefined,
): Promise<SequenceState> {
  const state = engine.newState();
  if (prompt.length > 1) await engine.prefill(state, prompt.subarray(0, -1), { signal });
  return state;
}

/** Tokens per second of the three ways, run one after the other. */
interface Speeds {
  readonly sequential: number;
  readonly speculative: number;
  readonly auto: number;
}

/** Runs of the three ways at one context and temperature. */
class Comparison {
  readonly #speeds: Speeds[] = [];
  readonly #statistics = new SpeculationStatistics();
  readonly #autoStatistics = new SpeculationStatistics();
  #identical = true;

  async add(run: (method: DecodingMethod) => Promise<Generation>, makeDrafter: MakeDrafter): Promise<void> {
    const plain = await run(sequential);
    await using drafter = makeDrafter();
    const drafted = await run(speculative(drafter, { statistics: this.#statistics }));
    await using pacedDrafter = makeDrafter();
    const paced = await run(
      speculative(pacedDrafter, { statistics: this.#autoStatistics, adaptive: new AdaptiveSpeculation() }),
    );
    const text = String(plain.tokens);
    this.#identical &&= String(drafted.tokens) === text && String(paced.tokens) === text;
    this.#speeds.push({
      sequential: plain.tokensPerSecond,
      speculative: drafted.tokensPerSecond,
      auto: paced.tokensPerSecond,
    });
  }

  result(context: number, temperature: number): SpeculationSpeed {
    const median = (pick: (speeds: Speeds) => number): number => timingOf(this.#speeds.map(pick)).medianMs;
    const { tokensPerStep, nodesPerStep, acceptedByDepth, seconds } = this.#statistics.summary;
    const sum = seconds.draft + seconds.verify + seconds.accept + seconds.commit;
    return {
      context,
      temperature,
      sequential: median((speeds) => speeds.sequential),
      speculative: median((speeds) => speeds.speculative),
      auto: median((speeds) => speeds.auto),
      ratio: median((speeds) => speeds.speculative / speeds.sequential),
      autoRatio: median((speeds) => speeds.auto / speeds.sequential),
      tokensPerStep,
      nodesPerStep,
      acceptedByDepth,
      timeShares: {
        draft: seconds.draft / sum,
        verify: seconds.verify / sum,
        accept: seconds.accept / sum,
        commit: seconds.commit / sum,
      },
      autoSpeculated: this.#autoStatistics.summary.speculatedSteps / Math.max(1, this.#autoStatistics.summary.steps),
      ...(temperature === 0 && { identical: this.#identical }),
    };
  }
}
