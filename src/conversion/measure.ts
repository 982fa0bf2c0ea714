/** Measurements of a converted model next to its original: quality, contribution of each branch, memory and speed. */
import { tokensBefore } from '../tokenizer/encode-text.ts';
import { preparePrompt } from '../engine/prompt.ts';
import { type Branch, branches } from '../attention/mixer.ts';
import { withoutBranch } from '../attention/mixers.ts';
import { DecodingEngine } from '../decoding/engine.ts';
import { generateToEnd } from '../engine/generate.ts';
import { Sampler } from '../decoding/sampler.ts';
import { perplexity, perplexityByPosition, type PositionLoss } from '../evaluation/perplexity/perplexity.ts';
import { tokenLosses } from '../evaluation/perplexity/losses.ts';
import { copyRecall, recallProbes, type RecallResult } from '../evaluation/recall/copy-recall.ts';
import { type ContextSpeed, decodingSpeed } from '../evaluation/speed/decoding-speed.ts';
import type { CausalModel } from '../models/model.ts';
import { modelStateBytes } from '../models/graphs/model-layout.ts';
import { modelWithout } from '../models/linearization/linearize.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { type Weighted, windowLength } from './stages.ts';
import type { ConversionTexts } from './texts.ts';

/** A number of the original and of the converted model. */
export interface Pair<T> {
  readonly original: T;
  readonly converted: T;
}

/** Everything that the report shows next to the stages. */
export interface ConversionMeasures {
  readonly perplexity: Pair<number>;
  /** Perplexity of the converted model with a branch switched off. */
  readonly ablation: readonly { readonly without: Branch; readonly perplexity: number }[];
  readonly positions: Pair<readonly PositionLoss[]>;
  readonly recall: Pair<readonly RecallResult[]>;
  /** Bytes of float32 state of a session after `context` tokens. */
  readonly memory: readonly ({ readonly context: number } & Pair<number>)[];
  readonly speed: Pair<readonly ContextSpeed[]>;
  readonly samples: readonly ({ readonly prompt: string } & Pair<string>)[];
}

/** Options of `measureConversion`. */
export interface MeasureConversionOptions {
  /** Tokens of context at which memory and speed are measured. */
  readonly contexts: readonly number[];
  /** Both models continue each of them. */
  readonly prompts: readonly string[];
  /** Of the sampled texts. Default 0. */
  readonly seed?: number;
  /** Threads and device. Default: all cores of the CPU. */
  readonly compile?: CompileOptions;
  /** Stops between measurements. */
  readonly signal?: AbortSignal;
  /** Called before each measurement with its name. */
  readonly onProgress?: (what: string) => void;
}

/** Tokens of a window in which perplexity is reported by position, over the length of training. */
const positionFactor = 4;
const sampleTokens = 80;

/**
 * @throws LinnetError as the measurements do, `ABORTED` by the signal
 * @example
 * const { perplexity, ablation } = await measureConversion(original, converted, tokenizer, texts, {
 *   contexts: [1024, 8192], prompts: ['Once upon a time'],
 * });
 * console.log(perplexity.original, perplexity.converted, ablation);
 */
export async function measureConversion(
  original: Weighted,
  converted: Weighted,
  tokenizer: Tokenizer,
  texts: ConversionTexts,
  { contexts, prompts, seed = 0, compile, signal, onProgress }: MeasureConversionOptions,
): Promise<ConversionMeasures> {
  const options = { ...compile, signal };
  const both = async <T>(what: string, measure: (weighted: Weighted) => Promise<T>): Promise<Pair<T>> => {
    onProgress?.(what);
    return { original: await measure(original), converted: await measure(converted) };
  };
  const textPerplexity = async (model: CausalModel, { parameters }: Weighted): Promise<number> =>
    (await perplexity(model, parameters, texts.test, options)).perplexity;
  const quality = await both('perplexity', (weighted) => textPerplexity(weighted.model, weighted));

  onProgress?.('branches');
  const ablation = [];
  for (const without of branches) {
    if (!converted.model.mixers.some((mixer) => withoutBranch(mixer, without) !== undefined)) continue;
    const value = await textPerplexity(modelWithout(converted.model, without), converted);
    ablation.push({ without, perplexity: value });
  }

  const first = tokensBefore(tokenizer);
  const windows = positionWindows(texts.testTokens, first, positionFactor * windowLength(original.model));
  const positions = await both('perplexity by position', async ({ model, parameters }) =>
    perplexityByPosition(await tokenLosses(model, parameters, windows, options)),
  );
  const distances = [16, 32, 64, 128, 256, 512, 1024].filter((distance) => distance + 64 < texts.testTokens.length);
  const probes = recallProbes(texts.testTokens, { distances }, first);
  const recall = await both('recall', async ({ model, parameters }) =>
    probes.length === 0 ? [] : await copyRecall(model, parameters, probes, options),
  );
  const memory = contexts.map((context) => ({
    context,
    original: modelStateBytes(original.model, context),
    converted: modelStateBytes(converted.model, context),
  }));
  const speed = await both('speed', async ({ model, parameters }) => {
    await using engine = await DecodingEngine.create(model, parameters, compile);
    return await decodingSpeed(engine, { contexts, signal });
  });
  const written = await both('samples', (weighted) => samplesOf(weighted, tokenizer, prompts, seed, options));
  return {
    ...{ perplexity: quality, ablation, positions, recall, memory, speed },
    samples: prompts.map((prompt, i) => ({
      prompt,
      original: written.original[i],
      converted: written.converted[i],
    })),
  };
}

/** Windows of one length over a stretch of text, each after the tokens that begin texts; all of it where it is shorter. */
function positionWindows(tokens: Int32Array, first: readonly number[], length: number) {
  const size = Math.min(length - first.length, tokens.length);
  const count = Math.max(1, Math.floor(tokens.length / size));
  return Array.from({ length: count }, (_, i) => ({
    tokens: Int32Array.from([...first, ...tokens.subarray(i * size, (i + 1) * size)]),
    scoredFrom: 1,
  }));
}

async function samplesOf(
  { model, parameters }: Weighted,
  tokenizer: Tokenizer,
  prompts: readonly string[],
  seed: number,
  { signal, ...compile }: CompileOptions & { readonly signal?: AbortSignal },
): Promise<string[]> {
  await using engine = await DecodingEngine.create(model, parameters, compile);
  const texts: string[] = [];
  for (const prompt of prompts) {
    const { text } = await generateToEnd(engine, {
      promptTokens: preparePrompt({ engine, tokenizer }, { text: prompt }).tokens,
      maxTokens: sampleTokens,
      sampler: new Sampler({ temperature: 0.7, topP: 0.95, seed }),
      ...{ tokenizer, signal },
    });
    texts.push(text);
  }
  return texts;
}
