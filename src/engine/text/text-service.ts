/** From prompts to text events: prefix cache, scheduler, scores. It knows nothing of HTTP. */
import type { TokenConstraint } from '../../decoding/logit-adjustments.ts';
import { Sampler, type SamplerInput } from '../../decoding/sampler.ts';
import type { RandomState } from '../../random.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { Generation } from '../text-generation.ts';
import type { VerifiedTree } from '../../decoding/speculation/speculative.ts';
import type { TextPace } from '../scheduler/round-pacing.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';
import type { ChoiceRequest } from '../scheduler/text-request.ts';
import type { TextModel } from '../text-model.ts';
import { type DrafterName, type MethodMaker, methodsByName } from './decoding-choice.ts';
import { JsonSchemas } from '../../decoding/constraints/json-schemas.ts';
import type { JsonConstraint } from '../../decoding/constraints/json-constraint.ts';
import { leastTokens } from './least-tokens.ts';
import { PrefixCache, type SharedPrefixes } from './prefix-cache.ts';
import { type PlacedScore, ScoreStream } from './score-stream.ts';
import { type ScoredDistribution, scoredMethod, scoreToken, type TokenScore } from './scores.ts';

/** Tokens between two states of a prompt that are kept. */
const boundaryEvery = 512;

/** A prompt of which less is left to read is read sooner than other servers are asked about it. */
const worthAsking = 8;

/** Verified trees of a choice that wait for its reader. */
const mostTrees = 16;

/** What is to be written. */
export interface TextJob {
  /** Whose job it is. */
  readonly key: string;
  /** Among the waiting requests of the key, those of lower numbers begin first. Default 0. */
  readonly priority?: number;
  /** Separates cached beginnings. */
  readonly salt: string;
  /** Not empty, every token of the vocabulary. */
  readonly prompt: readonly number[];
  /** 0 only scores the prompt. */
  readonly maxTokens: number;
  readonly n: number;
  readonly sampling: SamplerInput & { readonly seed: number };
  readonly stop: readonly string[];
  readonly stopIds: readonly number[];
  /** Whether the stop string that ends a text is part of it. Default false. */
  readonly keepStop?: boolean;
  readonly ignoreEos: boolean;
  /** Tokens before which nothing ends the text. Default 0; not together with `json`. */
  readonly leastTokens?: number;
  /** JSON that the text is to be. */
  readonly json?: JsonConstraint;
  /** How many of the most probable tokens to report with each token; undefined reports no scores. */
  readonly logprobs?: number;
  /** Of which distribution the scores of the answer are. Default: the model's. */
  readonly scored?: ScoredDistribution;
  /** Whether tokens of the prompt are scored too. */
  readonly scorePrompt: boolean;
  /** How many of the most probable tokens to report with each of those. Default 0. */
  readonly promptTop?: number;
  /** Whether to tell how far the prompt is. */
  readonly progress?: boolean;
  /** Lengths of the prompt after which its state is worth keeping. */
  readonly boundaries?: readonly number[];
  /** Has read a beginning of the prompt; else the prefix cache is asked. */
  readonly state?: SequenceState;
  /** How the text is decoded. Default: as the server does. */
  readonly drafter?: DrafterName;
  /** Whether text events tell the trees that were verified. */
  readonly trees?: boolean;
  /** Random numbers to go on with, instead of those of the seed; for one choice. */
  readonly random?: RandomState;
  readonly signal: AbortSignal;
}

/** What a job gives. */
export type TextEvent =
  /** So many of so many tokens of the prompt have been read, in so much time; only where the job asks for it. */
  | {
      readonly type: 'progress';
      readonly done: number;
      readonly total: number;
      readonly seconds: number;
      readonly cached: number;
    }
  | {
      readonly type: 'prompt';
      /** Time spent reading the prompt. */
      readonly seconds: number;
      readonly scores: readonly TokenScore[];
      readonly cached: number;
      readonly state: SequenceState;
    }
  | {
      readonly type: 'text';
      readonly choice: number;
      readonly text: string;
      readonly tokens: readonly number[];
      readonly scores: readonly PlacedScore[];
      /** Trees verified since the last event of the choice; none unless the job asks for them. */
      readonly trees: readonly VerifiedTree[];
    }
  | {
      readonly type: 'end';
      readonly choice: number;
      readonly scores: readonly PlacedScore[];
      readonly finish: 'stop' | 'length';
      readonly generation: Generation;
      readonly sampler: Sampler;
    };

/** A text that has ended. */
export interface EndedText {
  readonly finish: Generation['finish'];
  /** From when it was asked for. */
  readonly seconds: number;
  /** Spent reading the part of its prompt that no state had read. */
  readonly promptSeconds: number;
  /** Spent in rounds. */
  readonly decodeSeconds: number;
  /** Of prompt and continuation. */
  readonly tokens: number;
}

/** What can be observed of texts, for metrics. Times are those of whoever reads the events. */
export interface TextObserver {
  /** The first tokens of a text came so many seconds after it was asked for. */
  firstTokens?(seconds: number): void;
  /** So many more tokens came, so many seconds after those before. */
  nextTokens?(tokens: number, seconds: number): void;
  /** A text ended. */
  ended?(text: EndedText): void;
  /** So many tokens were drafted for a text in a round, and so many of them were right. */
  drafted?(tokens: number, accepted: number): void;
  /** A prompt of so many tokens began from a state that had read so many of them. */
  reused?(tokens: number, cached: number): void;
}

export interface TextServiceOptions {
  readonly observer?: TextObserver;
  /** Bytes of the prefix cache. Default 0, which keeps nothing. */
  readonly cacheBytes?: number;
  /** Makes the method of texts that report no scores. Default: one token a round. */
  readonly method?: MethodMaker;
  /** Where beginnings are shared with other servers. */
  readonly shared?: SharedPrefixes;
}

export class TextService {
  readonly model: TextModel;
  readonly scheduler: Scheduler;
  readonly cache: PrefixCache;
  readonly #shared: SharedPrefixes | undefined;
  readonly schemas: JsonSchemas;
  /** Makes the method of texts that report no scores. */
  readonly #method: MethodMaker;
  readonly #observer: TextObserver;

  constructor(
    model: TextModel,
    scheduler: Scheduler,
    { cacheBytes = 0, method = methodsByName('off'), shared, observer = {} }: TextServiceOptions = {},
  ) {
    this.model = model;
    this.scheduler = scheduler;
    this.cache = new PrefixCache(cacheBytes);
    this.schemas = new JsonSchemas(model.tokenizer, model.engine.model.sizes.vocabulary);
    this.#method = method;
    this.#observer = observer;
    this.#shared = shared;
  }

  /**
   * Starts a job. Its first event is `prompt`, when the whole prompt has been read.
   * @throws as `Scheduler.submit`
   */
  start(job: TextJob): AsyncGenerator<TextEvent, void, undefined> {
    const { prompt, maxTokens, n, sampling, stop, stopIds, ignoreEos, logprobs, signal } = job;
    const { tokenizer } = this.model;
    const looks = job.state === undefined && !job.scorePrompt && this.#caches;
    const state = looks ? this.cache.find(job.salt, prompt, prompt.length) : job.state;
    const start: Start = { cached: state?.length ?? 0 };
    const keeps = this.#caches && (looks || !this.scheduler.deterministic);
    const fetched = looks ? this.#fetch(job, start) : undefined;
    const promptScores: TokenScore[] = [];
    const streams = Array.from({ length: n }, () => new ScoreStream(tokenizer, prompt));
    const trees = streams.map((): VerifiedTree[] => []);
    const methodOf = (choice: number): Pick<ChoiceRequest, 'method' | 'pace'> => {
      if (logprobs !== undefined) {
        return { method: scoredMethod(logprobs, (s) => streams[choice].push(s), job.scored) };
      }
      const onTree = (tree: VerifiedTree) => {
        // Neither counts the root, which the text has already.
        this.#observer.drafted?.(tree.tokens.length - 1, tree.accepted.length - 1);
        if (job.trees !== true) return;
        // A reader that is behind gets the last ones.
        if (trees[choice].push(tree) > mostTrees) trees[choice].shift();
      };
      let pace: TextPace | undefined;
      const pacing = (): TextPace => (pace = this.scheduler.pacing.newText());
      // Trees are as large as the clock says.
      const drafter = this.scheduler.deterministic ? 'off' : job.drafter;
      const method = this.#method({ drafter, onTree, pacing });
      return { method, pace };
    };
    const samplers = streams.map(
      (_, choice) =>
        new Sampler({ ...sampling, seed: (sampling.seed + choice) >>> 0 }, job.random, {
          // The penalties of this API are about what is written; the repetition penalty is about the prompt too.
          constraint: job.json?.after(prompt.length) ?? this.#lasting(job),
          penalizedFrom: (sampling.repetitionPenalty ?? 1) === 1 ? prompt.length : 0,
        }),
    );
    const events = this.scheduler.submit(
      {
        key: job.key,
        prompt,
        maxTokens,
        priority: job.priority,
        stop: { strings: stop, tokenIds: stopIds, kept: job.keepStop, after: job.leastTokens },
        ignoreEos,
        tokenizer,
        choices: (maxTokens === 0 ? [] : samplers).map((sampler, choice) => ({
          sampler,
          ...methodOf(choice),
        })),
        state,
        fetched,
        ...(job.scorePrompt && {
          onPromptLogits: (position: number, logits: Float32Array) => {
            if (position + 1 >= prompt.length) return;
            promptScores.push(scoreToken(logits, prompt[position + 1], job.promptTop ?? 0));
          },
        }),
        ...(keeps && {
          boundaries: this.#boundaries(job),
          onBoundary: (read: SequenceState) => {
            this.#keep(job.salt, prompt, read);
          },
        }),
      },
      signal,
    );
    return this.#follow(job, { events, start, promptScores, streams, samplers, trees });
  }

  #lasting({ leastTokens: count = 0, prompt, stopIds, ignoreEos }: TextJob): TokenConstraint | undefined {
    const { eosIds, sizes } = this.model.engine.model;
    const ends = [...stopIds, ...(ignoreEos ? [] : eosIds)];
    if (count === 0 || ends.length === 0) return undefined;
    return leastTokens({ count, from: prompt.length, ends, vocabulary: sizes.vocabulary });
  }

  /** Asks other servers for more of the prompt than is known here. */
  #fetch({ salt, prompt }: TextJob, start: Start): Promise<SequenceState | undefined> | undefined {
    if (!this.#caches || prompt.length - start.cached < worthAsking) return undefined;
    if (this.scheduler.deterministic) return undefined;
    return this.#shared?.find(salt, prompt, start.cached, prompt.length).then((state) => {
      if (state === undefined) return undefined;
      start.cached = state.length;
      this.cache.add(salt, prompt, state);
      return state.fork();
    });
  }

  #keep(salt: string, tokens: readonly number[], state: SequenceState): void {
    const copy = state.fork();
    if (this.cache.add(salt, tokens, copy) && !this.scheduler.deterministic) this.#shared?.add(salt, tokens, copy);
  }

  get #caches(): boolean {
    // What an encoder has read is not in the tokens of the prompt.
    return this.cache.maxBytes > 0 && !this.model.engine.readsText;
  }

  /**
   * Every so many tokens, where the caller knows of one, and before the last token, for whoever asks again. Where texts are
   * to be the same in every bit, only those of the regular grid: a prompt is read in the same chunks from any of them.
   */
  #boundaries({ prompt, boundaries = [] }: TextJob): number[] {
    const regular = Array.from(
      { length: Math.floor(prompt.length / boundaryEvery) },
      (_, i) => (i + 1) * boundaryEvery,
    );
    const others = this.scheduler.deterministic ? [] : [...boundaries, prompt.length - 1];
    const all = [...regular, ...others].filter((at) => at > 0 && at < prompt.length);
    return [...new Set(all)].sort((a, b) => a - b);
  }

  async *#follow(
    job: TextJob,
    { events, start, promptScores, streams, samplers, trees }: Following,
  ): AsyncGenerator<TextEvent, void, undefined> {
    const waiting = streams.map((): number[] => []);
    const began = performance.now();
    const latest = streams.map((): number | undefined => undefined);
    let promptSeconds = 0;
    const since = (moment: number): number => (performance.now() - moment) / 1000;
    for await (const event of events) {
      if (event.type === 'prompt') {
        const { done, total, seconds, state } = event;
        const { cached } = start;
        if (job.progress === true) yield { type: 'progress', done, total, seconds, cached };
        if (done === total) {
          promptSeconds = seconds;
          this.#observer.reused?.(total, cached);
          yield { type: 'prompt', scores: promptScores, cached, state, seconds };
        }
      } else if (event.type === 'tokens') {
        const { choice, text, tokens } = event;
        const before = latest[choice];
        latest[choice] = performance.now();
        if (before === undefined) this.#observer.firstTokens?.(since(began));
        else this.#observer.nextTokens?.(tokens.length, since(before));
        const scores = streams[choice].take(text.length);
        const verified = trees[choice].splice(0);
        // Tokens whose text is not certain yet come with it.
        waiting[choice].push(...tokens);
        if (text !== '' || scores.length > 0 || verified.length > 0) {
          yield { type: 'text', choice, text, tokens: waiting[choice].splice(0), scores, trees: verified };
        }
      } else {
        const { choice, generation } = event;
        const stopped = generation.finish === 'stop';
        this.#observer.ended?.({
          finish: generation.finish,
          seconds: since(began),
          promptSeconds: promptSeconds + generation.prefillSeconds,
          decodeSeconds: generation.decodeSeconds,
          tokens: generation.promptTokens + generation.tokens.length,
        });
        if (this.#caches && choice === 0 && !this.scheduler.deterministic) {
          this.#keep(job.salt, [...job.prompt, ...generation.tokens], generation.state);
        }
        const finish = generation.finish === 'length' ? 'length' : 'stop';
        const scores = streams[choice].finish(stopped && job.stop.length > 0);
        yield { type: 'end', choice, scores, finish, generation, sampler: samplers[choice] };
      }
    }
  }
}

/** How a text began: set before its first event. */
interface Start {
  /** Tokens of the prompt that had been read. */
  cached: number;
}

interface Following {
  readonly events: ReturnType<Scheduler['submit']>;
  readonly start: Start;
  readonly promptScores: readonly TokenScore[];
  readonly streams: readonly ScoreStream[];
  readonly samplers: readonly Sampler[];
  readonly trees: readonly VerifiedTree[][];
}
