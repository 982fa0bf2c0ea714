/** Text that a model of a conversion writes itself: prompts out of given text, and the engine that continues them. */
import { DecodingEngine } from '../decoding/engine.ts';
import { samplePrompts } from '../evaluation/agreement/agreement.ts';
import type { ScoredWindow } from '../evaluation/perplexity/scored-windows.ts';
import type { CausalModel } from '../models/model.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import { tokensBefore } from '../tokenizer/encode-text.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { type Weighted, windowLength } from './stages.ts';

/** Tokens of a prompt, more than windows of usual groups reach, and of the original's continuation. */
const promptTokens = 256;
const writtenTokens = 32;
/** Lengths of prompts and continuations, within the positions of a model. */
export function ownTextLengths(model: CausalModel) {
  const half = Math.floor(windowLength(model) / 2);
  const [prompt, written] = [promptTokens, writtenTokens].map((tokens) => Math.min(tokens, half));
  return { prompt, written, whole: prompt + written };
}

/** Prompts out of a stretch of text, each with the tokens that begin texts in front. */
export function promptsOf(
  { model }: Pick<Weighted, 'model'>,
  tokenizer: Tokenizer,
  { text, count, seed }: { readonly text: Int32Array; readonly count: number; readonly seed?: number },
): Int32Array[] {
  return samplePrompts(stretches(text, tokensBefore(tokenizer), ownTextLengths(model).prompt), count, seed);
}

/** Windows of one length over a stretch of text, each after the tokens that begin texts; all of it where it is shorter. */
export function stretches(tokens: Int32Array, first: readonly number[], length: number): ScoredWindow[] {
  const size = Math.max(1, Math.min(length - first.length, tokens.length));
  const count = Math.max(1, Math.floor(tokens.length / size));
  return Array.from({ length: count }, (_, i) => ({
    tokens: Int32Array.from([...first, ...tokens.subarray(i * size, (i + 1) * size)]),
    scoredFrom: 1,
  }));
}

/** An engine for the weights of a model; dispose of it. */
export function engineFor({ model, parameters }: Weighted, compile?: CompileOptions): Promise<DecodingEngine> {
  return DecodingEngine.create(model, parameters, compile);
}
