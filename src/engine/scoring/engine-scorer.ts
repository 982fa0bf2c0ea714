/** Evaluates with a decoding engine: log-likelihoods of continuations and whole texts, and greedy answers. */
import type { DecodingMethod } from '../../decoding/method.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { LinnetError } from '../../errors.ts';
import { textTokens } from '../../tokenizer/encode-text.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { runTogether } from '../run-together.ts';
import { preparePrompt, type Prompt } from '../prompt.ts';
import type { TextJob } from '../text-job.ts';
import type { GenerateRequest, Score, Scorer, ScorerOptions, ScorerUsage } from './scorer.ts';
import { SequenceScorer } from './sequence-scorer.ts';
import { TextScores, type TextScoreOptions } from './text-scores.ts';
import { cutAtStops, prefixToken, scoredSequence, type TokenSequence } from './token-sequences.ts';

/** Answers generated in the same steps. */
const answeredTogether = 8;
export interface EngineScorerOptions extends TextScoreOptions {
  readonly engine: StepEngine;
  /** Whether requests share common prefixes. Default true; false measures what sharing saves. */
  readonly sharing?: boolean;
  /** Makes each answer's decoding method, such as speculation. Default: token by token. */
  readonly newMethod?: () => DecodingMethod;
}

/** A scorer over an engine, which remains the caller's. */
export class EngineScorer extends TextScores implements Scorer {
  readonly #options: EngineScorerOptions;
  readonly #sequences: SequenceScorer;
  /** Prompt tokens, and those read for a single answer. */
  #asked = 0;
  #read = 0;
  #generated = 0;
  #steps = 0;

  constructor(options: EngineScorerOptions) {
    const { engine, sharing } = options;
    super(engine.model.sizes.trainedLength, options);
    this.#options = options;
    this.#sequences = new SequenceScorer(engine, sharing);
  }

  get usage(): ScorerUsage {
    const tokensRead = this.#read + this.#sequences.tokensRead;
    const asked = this.#asked + this.#sequences.tokensAsked;
    return { tokensRead, tokensReused: asked - tokensRead, tokensGenerated: this.#generated };
  }

  /** Steps for the generated tokens: fewer than tokens if a method verifies several at once. */
  get generationSteps(): number {
    return this.#steps;
  }

  async generate(requests: readonly GenerateRequest[], { signal, onProgress }: ScorerOptions = {}): Promise<string[]> {
    const { engine, tokenizer, sharing = true, newMethod, bos = 'auto' } = this.#options;
    const isSource = engine.model.cross !== undefined;
    const prompts = requests.map(({ context, maxTokens }): Prompt => {
      if (context === '' && !isSource) return { tokens: [prefixToken(tokenizer)] };
      const { source, tokens } = preparePrompt(
        { decoder: engine.model, tokenizer },
        { text: context },
        { bos: isSource ? 'auto' : bos },
      );
      // The answer to a source is another text and needs no room in it.
      if (source !== undefined) return { tokens, source: source.slice(-this.maxLength) };
      return { tokens: tokens.slice(-Math.max(1, this.maxLength - maxTokens)) };
    });
    const beginnings = prompts.map(({ tokens, source }) => (source === undefined ? tokens : []));
    const shared = this.#sequences.sharedLength(
      beginnings,
      beginnings.map(({ length }) => length - 1),
    );
    const answers: string[] = [];
    const together = sharing ? answeredTogether : 1;
    for (let first = 0; first < requests.length; first += together) {
      const jobs: TextJob[] = [];
      const batch = requests.slice(first, first + together);
      for (const [index, { until, maxTokens }] of batch.entries()) {
        const prompt = prompts[first + index];
        const { length } = prompt.source ?? prompt.tokens;
        this.#asked += length;
        this.#read += length - shared;
        const beginning = prompt.tokens.slice(0, shared);
        const prefix =
          prompt.source === undefined ? await this.#sequences.prefixState(beginning, 'prompt', signal) : undefined;
        const stop = { strings: until.filter((text) => text !== '') };
        jobs.push({ prompt, maxTokens, state: prefix?.fork(), method: newMethod?.(), stop });
      }
      let done = first;
      const observer = { ended: () => onProgress?.(++done, requests.length) };
      const generations = await runTogether(engine, jobs, { tokenizer, signal, observer });
      generations.forEach(({ tokens, steps }, index) => {
        this.#steps += steps;
        this.#generated += tokens.length;
        // Decodes only the new tokens: leading text that a tokenizer drops at a text's beginning is also dropped here.
        answers.push(cutAtStops(tokenizer.decode(tokens), batch[index].until));
      });
    }
    return answers;
  }

  protected override scoreSequences(sequences: readonly TokenSequence[], options: ScorerOptions): Promise<Score[]> {
    return this.#sequences.score(sequences, options);
  }

  /** @throws LinnetError `CONFIG` for an encoder-decoder model: it does not continue the text it reads */
  protected override requireContinuing(): void {
    const { model } = this.#options.engine;
    if (model.cross === undefined) return;
    throw new LinnetError(
      'CONFIG',
      `only causal models score continuations; a ${model.family} model reads a text and writes ` +
        'another: give it tasks whose answers are generated, such as cnn_dailymail, or fine-tune it as a classifier',
    );
  }
}

/** A continuation's probability. */
export interface ContinuationScore extends Score {
  /** The continuation's tokens. */
  readonly tokens: number;
}

/**
 * Scores continuations of a text, or texts that an encoder-decoder model writes for it. Encodes context and continuation
 * together; white space at the context's end goes to the continuation (`scoredSequence`).
 * @throws LinnetError `INPUT` for a continuation without its own token
 */
export async function scoreContinuations(
  model: { readonly engine: StepEngine; readonly tokenizer: Tokenizer },
  context: string,
  continuations: readonly string[],
): Promise<ContinuationScore[]> {
  const { engine, tokenizer } = model;
  const { tokens, source } = preparePrompt({ decoder: engine.model, tokenizer }, { text: context });
  const start = source && engine.newState(await engine.encode(source));
  const sequences = continuations.map((continuation) => {
    if (start === undefined) {
      return scoredSequence(tokenizer, { context, continuation }, { bos: 'auto', maxLength: Number.POSITIVE_INFINITY });
    }
    const added = textTokens(tokenizer, continuation, { bos: false });
    if (added.length > 0) return { tokens: [...tokens, ...added], scored: added.length };
    throw new LinnetError('INPUT', 'a continuation to score needs at least one token');
  });
  const scores = await new SequenceScorer(engine).score(sequences, {}, start);
  return scores.map((score, index) => ({ ...score, tokens: sequences[index].scored }));
}
