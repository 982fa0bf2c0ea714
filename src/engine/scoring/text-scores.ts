/** Log-likelihoods of continuations and whole texts, through anything that scores their tokens. */
import { LinnetError } from '../../errors.ts';
import { textTokens, tokensBefore } from '../../tokenizer/encode-text.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { Score, ScoreRequest, ScorerOptions } from './scorer.ts';
import { prefixToken, rollingWindows, scoredSequence, type TokenSequence } from './token-sequences.ts';

/** How to turn texts into tokens. */
export interface TextScoreOptions {
  readonly tokenizer: Tokenizer;
  /** Most tokens the model reads at once. Default: its trained length. */
  readonly maxLength?: number;
  /** Whether texts begin with BOS. Default: as the tokenizer's files say. */
  readonly bos?: boolean;
  /** Whether to read whole texts in windows of `maxLength` or in one pass, however long. Default: in windows. */
  readonly rollingContext?: 'windows' | 'unlimited';
}

/** `score` and `rolling` of a `Scorer`, through anything that scores tokens. */
export abstract class TextScores {
  readonly maxLength: number;
  /** Whether texts begin with BOS. */
  readonly bos: boolean;
  readonly #options: TextScoreOptions;

  /** @param trainedLength the model's */
  constructor(trainedLength: number, options: TextScoreOptions) {
    const { tokenizer, maxLength = trainedLength, bos } = options;
    this.maxLength = maxLength;
    this.bos = tokensBefore(tokenizer, bos).length > 0;
    this.#options = options;
  }

  /** Refuses a model that cannot score continuations. */
  protected requireContinuing?(): void;
  protected abstract scoreSequences(sequences: readonly TokenSequence[], options: ScorerOptions): Promise<Score[]>;

  /** The tokens of a continuation and its context. @throws LinnetError like `scoredSequence` */
  sequenceOf(request: ScoreRequest): TokenSequence {
    const { tokenizer, bos = 'auto' } = this.#options;
    return scoredSequence(tokenizer, request, { bos, maxLength: this.maxLength });
  }

  /** A whole text's windows. @throws LinnetError `INPUT` for a text without tokens */
  windowsOf(text: string): TokenSequence[] {
    const { tokenizer, rollingContext } = this.#options;
    const tokens = textTokens(tokenizer, text, { bos: false });
    if (tokens.length === 0) throw new LinnetError('INPUT', 'a text without a token has no likelihood');
    const length = rollingContext === 'unlimited' ? tokens.length : this.maxLength;
    return rollingWindows(tokens, prefixToken(tokenizer), length);
  }

  async score(requests: readonly ScoreRequest[], options: ScorerOptions = {}): Promise<Score[]> {
    this.requireContinuing?.();
    const sequences = requests.map((request) => this.sequenceOf(request));
    return await this.scoreSequences(sequences, options);
  }

  async rolling(texts: readonly string[], options: ScorerOptions = {}): Promise<number[]> {
    this.requireContinuing?.();
    const windows = texts.map((text) => this.windowsOf(text));
    const scores = await this.scoreSequences(windows.flat(), options);
    return windows.map(({ length }) => scores.splice(0, length).reduce((sum, score) => sum + score.logLikelihood, 0));
  }
}
