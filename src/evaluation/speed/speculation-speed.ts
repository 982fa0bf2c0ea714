/** Sequential against speculative decoding of the same prompts, taking turns in one process. */
import type { StepEngine } from '../../decoding/step-engine.ts';
import { generateToEnd } from '../../engine/generate.ts';
import { type DecodingMethod, sequential } from '../../decoding/method.ts';
import { Sampler } from '../../decoding/sampler.ts';
import type { Drafter } from '../../decoding/speculation/drafters/drafter.ts';
import { AdaptiveSpeculation } from '../../decoding/speculation/adaptive-speculation.ts';
import { speculative, type SpeculationOptions } from '../../decoding/speculation/speculative.ts';
import { type RoundSeconds, SpeculationStatistics } from '../../decoding/speculation/statistics.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import { requireRunning } from '../../errors.ts';
import { median, type TurnOptions } from './timing.ts';

/** Prompts of one length. */
export interface SpeculationPrompts {
  readonly context: number;
  readonly prompts: readonly Int32Array[];
}

export interface SpeculationSpeedOptions extends Pick<TurnOptions, 'signal' | 'onProgress'> {
  readonly contexts: readonly SpeculationPrompts[];
  readonly temperatures: readonly number[];
  /** Tokens of a continuation. */
  readonly tokens: number;
  /** Every prompt is continued this often in every way; default 3. */
  readonly rounds?: number;
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

/**
 * Prompts are read once; every run continues a copy of that state.
 * @param makeDrafter makes the drafts of one text
 */
export async function speculationSpeed(
  engine: StepEngine,
  makeDrafter: () => Drafter,
  options: SpeculationSpeedOptions,
): Promise<SpeculationSpeed[]> {
  const { contexts, temperatures, tokens, rounds = 3, signal, onProgress } = options;
  const total = contexts.reduce((sum, { prompts }) => sum + prompts.length, 0) * temperatures.length * rounds;
  let done = 0;
  const results: SpeculationSpeed[] = [];
  for (const { context, prompts } of contexts) {
    const read: { promptTokens: Int32Array; state: SequenceState }[] = [];
    for (const promptTokens of prompts) {
      const state = engine.newState();
      // `generate` needs the last token to begin.
      if (promptTokens.length > 1) await engine.prefill(state, promptTokens.subarray(0, -1), { signal });
      read.push({ promptTokens, state });
    }
    for (const temperature of temperatures) {
      const runs: Runs = {
        always: new SpeculationStatistics(),
        auto: new SpeculationStatistics(),
        speeds: [],
        same: true,
      };
      for (let round = 0; round < rounds; round++) {
        for (const { promptTokens, state } of read) {
          requireRunning(signal, 'while timing speculation');
          const sampling = { temperature, seed: round };
          const run = (method: DecodingMethod) => {
            const sampler = new Sampler(sampling);
            const own = { promptTokens, state: state.fork(), sampler, method };
            return generateToEnd(engine, { ...own, maxTokens: tokens, ignoreEos: true });
          };
          const drafted = async (how: SpeculationOptions) => {
            const drafter = makeDrafter();
            return await run(speculative(drafter, how));
          };
          const plain = await run(sequential);
          const always = await drafted({ statistics: runs.always });
          const auto = await drafted({ statistics: runs.auto, adaptive: new AdaptiveSpeculation() });
          runs.same &&= [always, auto].every((other) => String(other.tokens) === String(plain.tokens));
          const [sequentially, speculatively, paced] = [plain, always, auto].map((text) => text.tokensPerSecond);
          runs.speeds.push({ sequential: sequentially, speculative: speculatively, auto: paced });
          onProgress?.(++done, total);
        }
      }
      results.push({ context, temperature, ...summaryOf(runs), ...(temperature === 0 && { identical: runs.same }) });
    }
  }
  return results;
}

/** Tokens per second of the three ways, run one after the other. */
type Speeds = Pick<SpeculationSpeed, 'sequential' | 'speculative' | 'auto'>;

/** Runs of the three ways at one context and temperature. */
interface Runs {
  readonly speeds: Speeds[];
  readonly always: SpeculationStatistics;
  readonly auto: SpeculationStatistics;
  /** Whether all texts were equal. */
  same: boolean;
}

function summaryOf({ speeds, always, auto }: Runs): Omit<SpeculationSpeed, 'context' | 'temperature' | 'identical'> {
  const { tokensPerStep, nodesPerStep, acceptedByDepth, seconds } = always.summary;
  const sum = seconds.draft + seconds.verify + seconds.accept + seconds.commit;
  return {
    sequential: median(speeds.map(({ sequential: speed }) => speed)),
    speculative: median(speeds.map(({ speculative: speed }) => speed)),
    auto: median(speeds.map(({ auto: speed }) => speed)),
    ratio: median(speeds.map((speed) => speed.speculative / speed.sequential)),
    autoRatio: median(speeds.map((speed) => speed.auto / speed.sequential)),
    ...{ tokensPerStep, nodesPerStep, acceptedByDepth },
    timeShares: {
      draft: seconds.draft / sum,
      verify: seconds.verify / sum,
      accept: seconds.accept / sum,
      commit: seconds.commit / sum,
    },
    autoSpeculated: auto.summary.speculatedSteps / Math.max(1, auto.summary.steps),
  };
}
