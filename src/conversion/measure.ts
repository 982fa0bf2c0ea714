/** Measures a converted model against its original: quality, each branch's contribution, memory and speed. */
import { tokensBefore } from '../tokenizer/encode-text.ts';
import { preparePrompt } from '../engine/prompt.ts';
import type { DecodingEngine } from '../decoding/engine.ts';
import { runTogether } from '../engine/run-together.ts';
import {
  agreementByPosition,
  fartherProbability,
  greedyTexts,
  meanAgreement,
} from '../evaluation/agreement/agreement.ts';
import { weightAgreement } from '../evaluation/agreement/weight-agreement.ts';
import { perplexity, perplexityByPosition } from '../evaluation/perplexity/perplexity.ts';
import { tokenLosses } from '../evaluation/perplexity/losses.ts';
import { average, meanError } from '../report/statistics.ts';
import { copyRecall, recallProbes } from '../evaluation/recall/copy-recall.ts';
import { decodingSpeed } from '../evaluation/speed/decoding-speed.ts';
import type { CausalModel } from '../models/model.ts';
import { modelStateBytes } from '../models/graphs/model-layout.ts';
import { modelWithout } from '../models/linearization/linearize.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { measureOperations } from '../training/step-cost.ts';
import { modelBranches, measureExtent } from './measure-extent.ts';
import { engineFor, ownTextLengths, promptsOf, stretches } from './judge.ts';
import type { ConversionOptions } from './options.ts';
import type { Weighted } from './stages.ts';
import type { ConversionTexts } from './texts.ts';

/** A number for the original and one for the converted model. */
export interface Pair<T> {
  readonly original: T;
  readonly converted: T;
}

/** Everything the report shows besides the stages. */
export type ConversionMeasures = Awaited<ReturnType<typeof measureConversion>>;

/** Options of `measureConversion`. */
export interface MeasureConversionOptions extends Pick<ConversionOptions, 'compile' | 'signal'> {
  /** Context lengths at which to measure memory and speed. */
  readonly contexts: readonly number[];
  /** Both models continue each prompt. */
  readonly prompts: readonly string[];
  /** For all measurements: a large model reads fewer texts. Default: no limit. */
  readonly seconds?: number;
  /** Seed for the sampled texts. Default 0. */
  readonly seed?: number;
  /** Called before each measurement with its name. */
  readonly onProgress?: (what: string) => void;
}

const sampleTokens = 80;

/**
 * @throws LinnetError like the measurements, `ABORTED` by the signal
 * @example const { perplexity, ablation } = await measureConversion(original, converted, tokenizer, texts, { contexts: [1024,
 *   8192], prompts: ['Once upon a time'], }); console.log(perplexity.original, perplexity.converted, ablation);
 */
export async function measureConversion(
  original: Weighted,
  converted: Weighted,
  tokenizer: Tokenizer,
  texts: ConversionTexts,
  { contexts, prompts, seconds, seed = 0, compile, signal, onProgress }: MeasureConversionOptions,
) {
  const options = { ...compile, signal };
  const rate = await measureOperations(compile);
  const models = { original: original.model, converted: converted.model };
  const extent = measureExtent({ ...models, texts, contexts, seconds, rate });
  const test = { ...texts.test, windows: texts.test.windows.slice(0, extent.testWindows) };
  const both = async <T>(what: string, measure: (weighted: Weighted) => Promise<T>): Promise<Pair<T>> => {
    onProgress?.(what);
    return { original: await measure(original), converted: await measure(converted) };
  };
  const textPerplexity = async (model: CausalModel, { parameters }: Weighted): Promise<number> =>
    (await perplexity(model, parameters, test, options)).perplexity;
  // Over the tokens that count.
  const losses = await both('perplexity', async ({ model, parameters }) => {
    const all = await tokenLosses(model, parameters, test.windows, options);
    return test.windows.flatMap(({ scoredFrom }, at) => [...all[at].subarray(scoredFrom - 1)]);
  });
  const quality = {
    original: Math.exp(average(losses.original)),
    converted: Math.exp(average(losses.converted)),
  };
  const differences = losses.converted.map((loss, at) => loss - losses.original[at]);
  const ratioError = (quality.converted / quality.original) * meanError(differences);

  onProgress?.('branches');
  const ablation = [];
  for (const without of modelBranches(converted.model)) {
    const value = await textPerplexity(modelWithout(converted.model, without), converted);
    ablation.push({ without, perplexity: value });
  }

  const first = tokensBefore(tokenizer);
  const windows = stretches(texts.testTokens, first, extent.positionLength).slice(0, extent.positionWindows);
  const positions = await both('perplexity by position', async ({ model, parameters }) =>
    perplexityByPosition(await tokenLosses(model, parameters, windows, options)),
  );
  const { distances, probes: count } = extent;
  const probes = recallProbes(texts.testTokens, { distances, count }, first);
  const recall = await both('recall', async ({ model, parameters }) =>
    probes.length === 0 ? [] : await copyRecall(model, parameters, probes, options),
  );
  const memory = contexts.map((context) => ({
    context,
    original: modelStateBytes(original.model, context),
    converted: modelStateBytes(converted.model, context),
  }));
  const asked = promptsOf(original, tokenizer, { text: texts.testTokens, count: extent.prompts, seed });
  const { written: tokens } = ownTextLengths(original.model);
  const written = await both('speed and text', async (weighted) => {
    await using engine = await engineFor(weighted, compile);
    return {
      speed: await decodingSpeed(engine, { contexts: extent.contexts, steps: extent.steps, signal }),
      samples: await samplesOf(engine, tokenizer, prompts, seed, signal),
      texts: weighted === original ? await greedyTexts(engine, asked, tokens, { signal }) : [],
    };
  });
  onProgress?.('agreement');
  const agreements = await weightAgreement(original, converted, written.original.texts, options);
  return {
    perplexity: quality,
    /** Standard error of converted / original, from token-wise differences. */
    ratioError,
    /** The converted model's perplexity with a branch switched off. */
    ablation,
    positions,
    recall,
    /** Bytes of a session's float32 state after `context` tokens. */
    memory,
    /** The amounts of text behind these numbers. */
    extent,
    speed: { original: written.original.speed, converted: written.converted.speed },
    /** The converted model against the original's own text, after prompts from the test text. */
    agreement: {
      prompts: agreements.length,
      /** Tokens per continuation. */
      tokens,
      ...meanAgreement(agreements),
      /** The probability of this KL by chance if the true one were `harmlessKl`. */
      p: fartherProbability(agreements),
      positions: agreementByPosition(agreements),
    },
    samples: prompts.map((prompt, i) => ({
      prompt,
      original: written.original.samples[i],
      converted: written.converted.samples[i],
    })),
  };
}

async function samplesOf(
  engine: DecodingEngine,
  tokenizer: Tokenizer,
  prompts: readonly string[],
  seed: number,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const sampling = { temperature: 0.7, topP: 0.95, seed };
  const texts: string[] = [];
  for (const text of prompts) {
    const prompt = preparePrompt({ decoder: engine.model, tokenizer }, { text });
    const [written] = await runTogether(engine, [{ prompt, maxTokens: sampleTokens, sampling }], { tokenizer, signal });
    texts.push(written.text);
  }
  return texts;
}
