/**
 * A conversion's judge: decides which of two models is better, by its predictions and its own writing. It can measure
 * perplexity (of validation text), generation (KL from the original on the original's text), or both. The two are in nats per
 * token, and `both` adds them. Prompts come from given text; the original continues them.
 */
import { z } from 'zod';
import type { Stoppable } from '../errors.ts';
import { layeredWeights, residentTensors } from '../checkpoint/stored-parameter.ts';
import { greedyTexts, meanAgreement, samplePrompts, type TextAgreement } from '../evaluation/agreement/agreement.ts';
import { weightAgreement } from '../evaluation/agreement/weight-agreement.ts';
import { perplexity } from '../evaluation/perplexity/perplexity.ts';
import type { ScoredWindow } from '../evaluation/perplexity/scored-windows.ts';
import type { RunFile, RunFolder } from '../files/run-folder.ts';
import type { CausalModel } from '../models/model.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { StageResult } from './progress-file.ts';
import { type Original, type Weighted, windowLength } from './stages.ts';
import type { ConversionTexts } from './texts.ts';
import { DecodingEngine } from '../decoding/engine.ts';
import { storedSource } from '../export/encoded-graphs.ts';
import { readerOf } from '../quantization/weight-reader.ts';
import { tokensBefore } from '../tokenizer/encode-text.ts';
import { whole } from '../files/schema-values.ts';

/** Measures that decide. */
export const judgeNames = ['both', 'perplexity', 'generation'] as const;
export type JudgeName = (typeof judgeNames)[number];

/** A model's measures. */
export type ModelJudgement = Pick<StageResult, 'perplexity' | 'agreement'>;

/** Nats per token that each judge minimizes. */
const losses: Readonly<Record<JudgeName, (measured: ModelJudgement) => number>> = {
  perplexity: (measured) => Math.log(measured.perplexity),
  generation: ({ agreement }) => agreement?.kl ?? Number.POSITIVE_INFINITY,
  both: (measured) => losses.perplexity(measured) + losses.generation(measured),
};

/** Whether the judge finds one model better than another; any is better than none. */
export function isBetter(judge: JudgeName, trial: ModelJudgement, best: ModelJudgement | undefined): boolean {
  return best === undefined || losses[judge](trial) < losses[judge](best);
}

/** Most prompts for the judge; fewer for a short validation text, so that reading them takes no longer than reading it. */
const mostPrompts = 64;
const fewestPrompts = 16;

/** Number of texts the judge reads with both models. @param length tokens per text */
export function judgedPrompts({ validation }: Pick<ConversionTexts, 'validation'>, length: number): number {
  const tokens = validation.windows.reduce((total, window) => total + window.tokens.length, 0);
  return Math.min(mostPrompts, Math.max(fewestPrompts, Math.floor(tokens / (2 * length))));
}

/** The text for judging generation: tokens that both models read in one judgment, and tokens per row. */
export function judgedText(model: CausalModel, texts: Pick<ConversionTexts, 'validation'>, judge: JudgeName) {
  const { whole: length } = ownTextLengths(model);
  return { length, tokens: judge === 'perplexity' ? 0 : 2 * judgedPrompts(texts, length) * length };
}

/** The original's own text, in the run folder: written once. */
export const ownTextFile: RunFile<{ readonly tokens: number[]; readonly scoredFrom: number }[]> = {
  file: 'own-text.json',
  schema: z.array(z.strictObject({ tokens: z.array(whole()), scoredFrom: whole(1) })),
  what: 'what the original of a conversion wrote',
  remedy: 'start anew in another folder',
  mostBytes: 1 << 24,
};

interface JudgeOptions extends Stoppable {
  readonly judge: JudgeName;
  readonly run: RunFolder;
  readonly seed?: number;
  readonly compile?: CompileOptions;
}

/** Measures models for a judge; the original writes its text at the first call, if it has not. */
export function judgeOf(
  original: Original,
  tokenizer: Tokenizer,
  texts: ConversionTexts,
  { judge, run, seed, compile, signal }: JudgeOptions,
): (model: Weighted) => Promise<ModelJudgement> {
  const options = { ...compile, signal };
  let written: Promise<readonly ScoredWindow[]> | undefined;
  const write = async (): Promise<readonly ScoredWindow[]> => {
    const kept = await run.read(ownTextFile);
    if (kept !== undefined) return kept.map(({ tokens, ...text }) => ({ ...text, tokens: Int32Array.from(tokens) }));
    const count = judgedPrompts(texts, ownTextLengths(original.model).whole);
    const prompts = promptsOf(original, tokenizer, { text: texts.validationTokens, count, seed });
    await using engine = await engineFor(original, compile);
    const made = await greedyTexts(engine, prompts, ownTextLengths(original.model).written, { signal });
    await run.write(
      ownTextFile,
      made.map(({ tokens, scoredFrom }) => ({ tokens: [...tokens], scoredFrom })),
    );
    return made;
  };
  return async (weighted) => {
    const { model, parameters } = weighted;
    const { perplexity: value } = await perplexity(model, parameters, texts.validation, options);
    if (judge === 'perplexity') return { perplexity: value };
    const agreements: TextAgreement[] = await weightAgreement(original, weighted, await (written ??= write()), options);
    return { perplexity: value, agreement: meanAgreement(agreements) };
  };
}

/** Tokens per prompt, more than windows of usual groups reach, and per continuation by the original. */
const promptTokens = 256;
const writtenTokens = 32;
/** Lengths of prompts and continuations that fit a model's positions. */
export function ownTextLengths(model: CausalModel) {
  const half = Math.floor(windowLength(model) / 2);
  const [prompt, written] = [promptTokens, writtenTokens].map((tokens) => Math.min(tokens, half));
  return { prompt, written, whole: prompt + written };
}

/** Prompts from a stretch of text, each after the tokens that begin texts. */
export function promptsOf(
  { model }: Pick<Weighted, 'model'>,
  tokenizer: Tokenizer,
  { text, count, seed }: { readonly text: Int32Array; readonly count: number; readonly seed?: number },
): Int32Array[] {
  return samplePrompts(stretches(text, tokensBefore(tokenizer), ownTextLengths(model).prompt), count, seed);
}

/**
 * Windows of one length over a stretch of text, each after the tokens that begin texts; the whole stretch if it is shorter.
 */
export function stretches(tokens: Int32Array, first: readonly number[], length: number): ScoredWindow[] {
  const size = Math.max(1, Math.min(length - first.length, tokens.length));
  const count = Math.max(1, Math.floor(tokens.length / size));
  return Array.from({ length: count }, (_, i) => ({
    tokens: Int32Array.from([...first, ...tokens.subarray(i * size, (i + 1) * size)]),
    scoredFrom: 1,
  }));
}

/**
 * How matrices are stored when a model that is measured layer by layer writes. With a 7B in blocks of 64, more pieces would
 * stay with the process (`memoryAfterEngine`).
 */
export const writingForm = { dtype: 'int4', block: 32 } as const;

/** An engine for a model's weights, in 4 bits if the weights are in files; dispose of it. */
export function engineFor({ model, parameters }: Weighted, compile?: CompileOptions): Promise<DecodingEngine> {
  if (layeredWeights(parameters) === undefined) {
    return DecodingEngine.create(model, residentTensors(parameters), compile);
  }
  const source = storedSource(model, readerOf(parameters), { ...writingForm, device: 'cpu' });
  return DecodingEngine.compile(model, source, { ...compile, scratch: true });
}
