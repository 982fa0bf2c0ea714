/**
 * Log-likelihoods from a model whose weights are read layer by layer: every request is a window, and one pass over the
 * weights serves many.
 */
import type { AnyParameter } from '../../checkpoint/stored-parameter.ts';
import type { Score, Scorer, ScorerOptions, ScorerUsage } from '../../engine/scoring/scorer.ts';
import { TextScores, type TextScoreOptions } from '../../engine/scoring/text-scores.ts';
import type { TokenSequence } from '../../engine/scoring/token-sequences.ts';
import { LinnetError } from '../../errors.ts';
import type { CausalModel } from '../../models/model.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import type { SegmentWeights } from '../../runtime/segmented-program.ts';
import { lossesMemory, tokenOutputs } from '../perplexity/losses.ts';
import type { ScoredWindow } from '../perplexity/scored-windows.ts';
import type { TaskQuestions } from './requests.ts';

/** Questions asked together: one pass over the weights serves them all. */
const questionsTogether = 256;
/** Padded tokens per run: heads cover only the answers' few tokens. */
const batchTokens = 1024;

/** A causal model, and how it reads texts. */
export interface WindowScorerOptions extends TextScoreOptions {
  readonly model: CausalModel;
  /** In files or in memory. */
  readonly parameters: ReadonlyMap<string, AnyParameter>;
  readonly compile?: CompileOptions;
}

/** Answers like `EngineScorer`, up to rounding; generates no texts. */
export class WindowScorer extends TextScores implements Scorer {
  readonly together = questionsTogether;
  readonly generationSteps = 0;
  readonly #options: WindowScorerOptions;
  #asked = 0;
  #read = 0;

  constructor(options: WindowScorerOptions) {
    super(options.model.sizes.trainedLength, options);
    this.#options = options;
  }

  get usage(): ScorerUsage {
    return { tokensRead: this.#read, tokensReused: this.#asked - this.#read, tokensGenerated: 0 };
  }

  /** @throws LinnetError `CONFIG` */
  generate(): Promise<string[]> {
    const helps = 'omit these tasks, or use an export in fewer bits (`linnet export`)';
    return Promise.reject(new LinnetError('CONFIG', `answers are not generated layer by layer: ${helps}`));
  }

  /** Memory of answering tasks layer by layer. @param weights parameters as they would be read */
  memory(tasks: readonly TaskQuestions[], weights: SegmentWeights): number {
    const estimates = tasks.map(({ questions }) => {
      const requests = questions.slice(0, questionsTogether).flatMap((question) => question.requests);
      const sequences = requests.flatMap((request) => {
        if (request.type === 'loglikelihood') return [this.sequenceOf(request)];
        return request.type === 'generate_until' ? [] : this.windowsOf(request.text);
      });
      return lossesMemory(this.#options.model, windowsOf(sequences).windows, weights, batchTokens).layers;
    });
    return Math.max(...estimates);
  }

  protected override async scoreSequences(
    sequences: readonly TokenSequence[],
    { signal, onProgress }: ScorerOptions,
  ): Promise<Score[]> {
    const { model, parameters, compile } = this.#options;
    const { windows, origins } = windowsOf(sequences);
    const results = await tokenOutputs(model, parameters, windows, { batchTokens, signal, ...compile }, true);
    for (const { tokens } of sequences) this.#asked += tokens.length - 1;
    for (const { tokens } of windows) this.#read += tokens.length - 1;
    onProgress?.(sequences.length, sequences.length);
    return origins.map(({ window, other }) => {
      const { tokens, scoredFrom } = windows[window];
      const { losses, gaps } = results[window];
      const last = tokens.length - 2;
      const places = Array.from({ length: last + 1 - scoredFrom }, (_, i) => scoredFrom - 1 + i);
      places.push(last + other);
      const logLikelihood = places.reduce((sum, place) => sum - losses[place], 0);
      return { logLikelihood, isGreedy: places.every((place) => gaps[place] === 0) };
    });
  }
}

/**
 * Sequences that differ only in their last token share a window; `other` numbers their last tokens, the window's own being 0.
 */
function windowsOf(sequences: readonly TokenSequence[]) {
  const windows: (ScoredWindow & { readonly others: number[] })[] = [];
  const known = new Map<string, number>();
  const origins = sequences.map(({ tokens, scored }) => {
    const key = `${scored} ${tokens.slice(0, -1).join()}`;
    const window = known.get(key);
    if (window === undefined) {
      known.set(key, windows.length);
      windows.push({ tokens: Int32Array.from(tokens), scoredFrom: tokens.length - scored, others: [] });
      return { window: windows.length - 1, other: 0 };
    }
    return { window, other: windows[window].others.push(tokens[tokens.length - 1]) };
  });
  return { windows, origins };
}
