/** Perplexity: exp of the mean −log p of a text's tokens, each predicted from the tokens before it. */
import { type AnyParameter, layeredWeights } from '../../checkpoint/stored-parameter.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { LinnetError, type Stoppable } from '../../errors.ts';
import type { CausalModel } from '../../models/model.ts';
import { compileLosses, engineLosses } from './losses.ts';
import { type EvaluationData, scoredTokens } from './scored-windows.ts';
import type { WindowGraphOptions, WindowGraphs, WindowResults } from './window-batches.ts';

/** Perplexity, and how much text it was measured on. */
export interface PerplexityResult {
  /** exp(`nll`). */
  readonly perplexity: number;
  /** Mean −log p over all scored tokens, in nats. Not finite if the model's output is not. */
  readonly nll: number;
  /** Scored tokens. */
  readonly tokens: number;
  /** Documents with at least one scored token. */
  readonly documents: number;
}

export interface EvaluationProgress {
  /** Windows done. */
  readonly windows: number;
  readonly totalWindows: number;
  /** Mean −log p so far. */
  readonly nll: number;
}

/** How to evaluate one text. */
export interface EvaluateOptions extends Stoppable {
  /** Called after every batch of windows. */
  readonly onProgress?: (progress: EvaluationProgress) => void;
}

/**
 * Measures a model repeatedly on the same text while its parameters change, without recompiling. Make it with `create`;
 * `dispose` of it.
 */
export class PerplexityEvaluator {
  readonly #data: EvaluationData;
  readonly #graphs: WindowGraphs;

  private constructor(data: EvaluationData, graphs: WindowGraphs) {
    this.#data = data;
    this.#graphs = graphs;
  }

  /** @throws LinnetError `INPUT` if there is nothing to score, `MISMATCH` for tokens outside the model's vocabulary */
  static async create(
    model: CausalModel,
    data: EvaluationData,
    options: WindowGraphOptions = {},
  ): Promise<PerplexityEvaluator> {
    requireScored(data);
    return new PerplexityEvaluator(data, await compileLosses(model, data.windows, options));
  }

  /**
   * @param parameters all of the model's by name, in memory or as `weights` of `create`
   * @throws LinnetError `TENSOR` for a missing parameter, `ABORTED` when the signal fires between two batches
   */
  evaluate(
    parameters: ReadonlyMap<string, AnyParameter>,
    { signal, onProgress }: EvaluateOptions = {},
  ): Promise<PerplexityResult> {
    return perplexityOf(this.#data, this.#graphs.run(parameters, signal), onProgress);
  }

  /** Frees the compiled graphs. */
  dispose(): Promise<void> {
    return this.#graphs[Symbol.asyncDispose]();
  }

  /** For `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/**
 * Measures a model once; layer by layer if parameters are in files (`ModelWeights.parameters`).
 * @throws LinnetError like `PerplexityEvaluator.create` and `evaluate`
 * @example
 * ```ts
 * const { perplexity: value } = await perplexity(model, parameters, data);
 * ```
 */
export async function perplexity(
  model: CausalModel,
  parameters: ReadonlyMap<string, AnyParameter>,
  data: EvaluationData,
  { onProgress, signal, ...options }: WindowGraphOptions & EvaluateOptions = {},
): Promise<PerplexityResult> {
  const weights = layeredWeights(parameters);
  await using evaluator = await PerplexityEvaluator.create(model, data, { weights, ...options });
  return await evaluator.evaluate(parameters, { onProgress, signal });
}

/**
 * An engine's perplexity: equal to `perplexity` for the same weights, up to rounding.
 * @throws LinnetError `INPUT` if there is nothing to score, `MISMATCH` for a token outside the vocabulary, `ABORTED` by the
 *   signal
 */
export async function stepPerplexity(
  engine: StepEngine,
  data: EvaluationData,
  { signal, onProgress }: EvaluateOptions = {},
): Promise<PerplexityResult> {
  requireScored(data);
  return await perplexityOf(data, engineLosses(engine, data.windows, signal), onProgress);
}

/** Sums are kept in float64. */
async function perplexityOf(
  { windows, documents }: EvaluationData,
  batches: WindowResults,
  onProgress: EvaluateOptions['onProgress'],
): Promise<PerplexityResult> {
  let total = 0;
  let tokens = 0;
  let done = 0;
  for await (const batch of batches) {
    for (const { window, outputs } of batch) {
      // The loss of predicting token i is at i − 1.
      for (let at = window.scoredFrom - 1; at < outputs.losses.length; at++) total += outputs.losses[at];
      tokens += scoredTokens([window]);
    }
    done += batch.length;
    onProgress?.({ windows: done, totalWindows: windows.length, nll: total / tokens });
  }
  const nll = total / tokens;
  return { perplexity: Math.exp(nll), nll, tokens, documents };
}

function requireScored({ windows }: EvaluationData): void {
  if (scoredTokens(windows) > 0) return;
  throw new LinnetError('INPUT', 'there is no token to predict in the evaluation text');
}

/** Mean −log p of the tokens in a range of positions. */
export interface PositionLoss {
  /** First and last position in the range. */
  readonly from: number;
  readonly to: number;
  /** exp of the mean. */
  readonly perplexity: number;
  readonly tokens: number;
}

/** Perplexity by position, in ranges of doubling length: 1–63, 64–127, 128–255, … @param losses index i is token i + 1's */
export function perplexityByPosition(losses: readonly Float32Array[]): PositionLoss[] {
  const first = 64;
  const ranges: { from: number; to: number; total: number; tokens: number }[] = [];
  for (const row of losses) {
    row.forEach((loss, i) => {
      const position = i + 1;
      const index = position < first ? 0 : 1 + Math.floor(Math.log2(position / first));
      ranges[index] ??= {
        from: index === 0 ? 1 : first * 2 ** (index - 1),
        to: first * 2 ** index - 1,
        total: 0,
        tokens: 0,
      };
      ranges[index].total += loss;
      ranges[index].tokens++;
    });
  }
  return ranges.map(({ from, to, total, tokens }) => ({ from, to, perplexity: Math.exp(total / tokens), tokens }));
}
