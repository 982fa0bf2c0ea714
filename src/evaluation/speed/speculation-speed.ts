/** Compares sequential and speculative decoding of the same prompts, taking turns in one process. */
import type { StepEngine } from '../../decoding/step-engine.ts';
import { runTogether } from '../../engine/run-together.ts';
import type { Prompt } from '../../engine/prompt.ts';
import { type DecodingMethod, sequential } from '../../decoding/method.ts';
import type { Drafter } from '../../decoding/speculation/drafters/drafter.ts';
import { AdaptiveSpeculation } from '../../decoding/speculation/adaptive-speculation.ts';
import { SpeculationStatistics, speculative } from '../../decoding/speculation/speculative.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import { requireRunning, type Watched } from '../../errors.ts';
import { finishComparing } from './decoding-speed.ts';
import { median } from './timing.ts';

/** Prompts of one length. */
export interface SpeculationPrompts {
  readonly context: number;
  readonly prompts: readonly Int32Array[];
}

interface SpeculationSpeedOptions extends Watched {
  readonly contexts: readonly SpeculationPrompts[];
  readonly temperatures: readonly number[];
  /** Tokens per continuation. */
  readonly tokens: number;
  /** Continuations of every prompt per method; default 3. */
  readonly rounds?: number;
}

/** Speeds at one context and temperature. */
export type SpeculationSpeed = Awaited<ReturnType<typeof speculationSpeed>>[number];

/**
 * Reads prompts once; every run continues a copy of that state.
 * @param makeDrafter makes the drafter for one text
 */
export async function speculationSpeed(
  engine: StepEngine,
  makeDrafter: () => Drafter,
  options: SpeculationSpeedOptions,
) {
  const { contexts, temperatures, tokens, rounds = 3, signal, onProgress } = options;
  const total = contexts.reduce((sum, { prompts }) => sum + prompts.length, 0) * temperatures.length * rounds;
  await finishComparing(engine);
  let done = 0;
  const results = [];
  for (const { context, prompts } of contexts) {
    const read: { prompt: Prompt; state: SequenceState }[] = [];
    for (const promptTokens of prompts) {
      const state = engine.newState();
      // A job needs the last token to begin, and a drafter may want more.
      const known = promptTokens.subarray(0, -Math.max(1, makeDrafter().reads ?? 0));
      if (known.length > 0) await engine.prefill(state, known, { signal });
      read.push({ prompt: { tokens: Array.from(promptTokens) }, state });
    }
    for (const temperature of temperatures) {
      const [statistics, ofAuto] = [new SpeculationStatistics(), new SpeculationStatistics()];
      const speeds: number[][] = [];
      let identical = true;
      for (let round = 0; round < rounds; round++) {
        for (const { prompt, state } of read) {
          requireRunning(signal, 'while timing speculation');
          const run = async (method: DecodingMethod) => {
            const job = { prompt, state: state.fork(), sampling: { temperature, seed: round }, method };
            const [text] = await runTogether(engine, [{ ...job, maxTokens: tokens, ignoreEos: true }]);
            return text;
          };
          const plain = await run(sequential);
          const always = await run(speculative(makeDrafter(), { statistics }));
          const adaptive = new AdaptiveSpeculation();
          const auto = await run(speculative(makeDrafter(), { statistics: ofAuto, adaptive }));
          identical &&= [always, auto].every((other) => String(other.tokens) === String(plain.tokens));
          speeds.push([plain, always, auto].map(({ tokensPerSecond }) => tokensPerSecond));
          onProgress?.(++done, total);
        }
      }
      const middle = (of: (speeds: readonly number[]) => number): number => median(speeds.map(of));
      const { tokensPerStep, nodesPerStep, acceptedByDepth, seconds } = statistics.summary;
      const sum = seconds.draft + seconds.verify + seconds.accept + seconds.commit;
      results.push({
        context,
        temperature,
        tokensPerStep,
        nodesPerStep,
        acceptedByDepth,
        // Median tokens per second over prompts and rounds.
        sequential: middle(([plain]) => plain),
        speculative: middle(([, always]) => always),
        auto: middle(([, , auto]) => auto),
        // Medians of neighboring runs' ratios.
        ratio: middle(([plain, always]) => always / plain),
        autoRatio: middle(([plain, , auto]) => auto / plain),
        // Where speculative steps spent their time, as shares of the total.
        timeShares: {
          draft: seconds.draft / sum,
          verify: seconds.verify / sum,
          accept: seconds.accept / sum,
          commit: seconds.commit / sum,
        },
        // Share of `auto`'s steps that read a draft.
        autoSpeculated: ofAuto.summary.speculatedSteps / Math.max(1, ofAuto.summary.steps),
        // Whether all texts were equal, token for token; not at temperatures above 0, where draws differ.
        ...(temperature === 0 && { identical }),
      });
    }
  }
  return results;
}
