/** Jobs of the text engine: a prompt and how it is continued, and the events that answer. */
import type { GrammarConstraint } from '../decoding/constraints/grammar-constraint.ts';
import type { DecodingMethod } from '../decoding/method.ts';
import type { Sampler, SamplerInput } from '../decoding/sampler.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import type { DrafterName, LearnedByOwner } from '../decoding/speculation/drafters/registry.ts';
import type { VerifiedTree } from '../decoding/speculation/speculative.ts';
import type { SequenceState } from '../decoding/state/sequence-state.ts';
import type { RandomState } from '../random.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Prompt } from './prompt.ts';
import type { PrefixCache } from './text/prefix-cache.ts';
import type { PlacedScore, TokenScore } from './text/scores.ts';

/** Why a text ended: `maxTokens` reached, a stop token or string, a token the model names as EOS, or the signal. */
export type FinishReason = 'length' | 'stop' | 'eos' | 'abort';

/** Ends of a text besides the model's EOS tokens. Strings need a tokenizer. */
export interface StopRules {
  readonly tokenIds?: readonly number[];
  readonly strings?: readonly string[];
  /** Whether the stop string that ends a text is part of it. Default false. */
  readonly kept?: boolean;
  /** In the text of the first `after` tokens no stop string is looked for. Default 0. */
  readonly after?: number;
}

/** A prompt, and how it is continued. */
export interface TextJob {
  readonly prompt: Prompt;
  /** Most tokens of each text; 0 only reads the prompt. */
  readonly maxTokens: number;
  /** Texts that continue the prompt. Default 1. */
  readonly n?: number;
  /** Default: greedy. A sampler is used as it is, for one text; of settings each text has its own seed, counted up. */
  readonly sampling?: SamplerInput | Sampler;
  /** State of the random numbers to continue from, instead of a seed; for one text. */
  readonly random?: RandomState;
  /** Tokens that presence and frequency penalties count: of prompt and text, or of the text alone. Default `all`. */
  readonly penalizes?: 'all' | 'answer';
  readonly stop?: StopRules;
  /** Treats EOS tokens as ordinary ones. Default false. */
  readonly ignoreEos?: boolean;
  /** Tokens before which nothing ends a text. Default 0; not with `constraint`. */
  readonly leastTokens?: number;
  /** Holds a text to a grammar from the end of the prompt on. */
  readonly constraint?: Pick<GrammarConstraint, 'after'>;
  /** Makes characters of the texts' tokens. Default: the runner's. */
  readonly tokenizer?: Tokenizer;
  /** How tokens are decoded, for one text. Default: `drafter`. */
  readonly method?: DecodingMethod;
  /** What drafts for texts without scores. Default: the runner's. */
  readonly drafter?: DrafterName;
  /** Log-probabilities to report; their decoding is one token a round. */
  readonly scores?: {
    /** Most probable tokens to report with each token of the prompt. Default: no scores of the prompt. */
    readonly prompt?: number;
    /** Most probable tokens to report with each token of a text. Default: no scores of texts. */
    readonly text?: number;
  };
  /** Whether events tell the trees that were verified. Default false. */
  readonly trees?: boolean;
  /** A state that has read a proper prefix of the prompt; the job owns it from now on. Default: from the prefix cache. */
  readonly state?: SequenceState;
  /** Rows and prompt chunks are shared out evenly among owners. Default ''. */
  readonly owner?: string;
  /** Among the waiting jobs of the owner, those of lower numbers begin first. Default 0. */
  readonly priority?: number;
  /** Separates the cached beginnings of prompts, and what drafters learn from texts. Default ''. */
  readonly salt?: string;
  /** Whether beginnings of the prompt are cached and looked up, and drafters learn for later texts. Default true. */
  readonly kept?: boolean;
  /** Ends the texts between two steps; the texts so far are the result. */
  readonly signal?: AbortSignal;
}

/** A part of the prompt has been read. */
export interface PromptEvent {
  readonly type: 'prompt';
  readonly done: number;
  readonly total: number;
  /** Time spent reading it so far. */
  readonly seconds: number;
  /** Tokens of the prompt that a state had read before. */
  readonly cached: number;
  /** Has read `done` tokens; texts go on with it. */
  readonly state: SequenceState;
  /** With the last part: scores of the second token of the prompt and those after it, where the job asks for them. */
  readonly scores: readonly TokenScore[];
}

/** A round added to a text. Each of the lists and the text may be empty. */
export interface TokensEvent {
  readonly type: 'tokens';
  readonly choice: number;
  /** Tokens that became part of the text. */
  readonly tokens: readonly number[];
  /** Characters that became certain; those of later tokens may have to come first. */
  readonly text: string;
  /** Scores of tokens whose characters are all certain. */
  readonly scores: readonly PlacedScore[];
  /** Trees verified since the last event of the text, where the job asks for them; the last 16. */
  readonly trees: readonly VerifiedTree[];
}

/** A text ended; its state has settled. */
export interface EndEvent {
  readonly type: 'end';
  readonly choice: number;
  readonly generation: Generation;
  /** Scores of tokens that no event before had. */
  readonly scores: readonly PlacedScore[];
  readonly sampler: Sampler;
}

/** Events of a job, in order. */
export type TextEvent = PromptEvent | TokensEvent | EndEvent;

/** The events of a job as they come; leaving the loop over them ends it. */
export type TextRun = AsyncGenerator<TextEvent, void, undefined>;

/** A finished continuation. */
export interface Generation {
  /**
   * The continuation. The EOS or stop token that ended it is not in it. The tokens that completed a stop string are:
   * a token may hold the beginning of the string and text before it.
   */
  readonly tokens: readonly number[];
  /** Text of the tokens, without the stop string. */
  readonly text: string;
  /** Thoughts before the text, which is without them: of a session's answer to messages by a model with thoughts. */
  readonly thoughts?: string;
  readonly finish: FinishReason;
  /** Rounds of the method; fewer than tokens where a round gives several. The first needs no run of the model. */
  readonly steps: number;
  /** Length of the prompt, BOS included where the prompt was empty. */
  readonly promptTokens: number;
  /** Time spent reading the part of the prompt that the state had not read. */
  readonly prefillSeconds: number;
  /** Time from the beginning to the end of the method's rounds, those of other texts in the same steps included. */
  readonly decodeSeconds: number;
  /** Tokens decoded after the first, which the prompt gives, per second of `decodeSeconds`; 0 if there are none. */
  readonly tokensPerSecond: number;
  /** Has read the prompt and the tokens, commonly without the last one. */
  readonly state: SequenceState;
}

/** How jobs are run, and how many at a time. */
export interface RunnerOptions {
  /** Makes characters of tokens. Without one, texts are empty. */
  readonly tokenizer?: Tokenizer;
  /** Most texts that are read or decoded at a time. Default 8. */
  readonly parallel?: number;
  /** Most requests that wait: a job, or the jobs of one `submitAll`. Default 64. */
  readonly maxQueue?: number;
  /** Tokens of a prompt that are read between two rounds. Default: the engine's `promptChunk`. */
  readonly chunk?: number;
  /**
   * Whether every prompt and every text is computed by steps of its own. Kernels round differently for different numbers of
   * rows: so no bit of a text depends on the texts decoded with it. Default false.
   */
  readonly deterministic?: boolean;
  /** Bytes of events that a reader may leave waiting before its texts pause. Default 64 KiB. */
  readonly readerBytes?: number;
  /** Milliseconds after which a reader that takes nothing is given up. Default 30 s. */
  readonly readerTimeout?: number;
  /** The same once the runner closes. Default 5 s. */
  readonly closingTimeout?: number;
  /** Drafts for texts whose jobs name neither method nor drafter. Default `off`: one token a round. */
  readonly drafter?: DrafterName;
  /** Drafts in place of `drafter`: the engine of the model's layer of multi-token prediction, which stays the caller's. */
  readonly mtp?: StepEngine;
  /** What drafters have learned so far. Default: they learn from the texts of this runner. */
  readonly learned?: LearnedByOwner;
  /** States of beginnings that come again. Default: none are kept. */
  readonly prefixes?: PrefixCache;
  /** Told of events, for metrics. */
  readonly observer?: RunnerObserver;
}

/** Callbacks of a runner, for metrics. */
export interface RunnerObserver {
  /** A round of `texts` texts took `seconds` and gave `tokens` tokens. */
  round?(texts: number, seconds: number, tokens: number): void;
  /** A chunk of a prompt was read. */
  chunk?(tokens: number, seconds: number): void;
  /** A job waited before it began. */
  admitted?(seconds: number): void;
  /** A job was cancelled while it waited, was read, or was decoded. */
  cancelled?(stage: 'queue' | 'prompt' | 'decode'): void;
  /** The first tokens of a text came, `seconds` after it was asked for. */
  firstTokens?(seconds: number): void;
  /** More tokens of a text came, `seconds` after those before. */
  nextTokens?(tokens: number, seconds: number): void;
  /** A text ended. */
  ended?(text: EndedText): void;
  /** Tokens were drafted for a text in a round, and some of them accepted. */
  drafted?(tokens: number, accepted: number): void;
  /** A prompt was read, from a state that had read `cached` of its tokens. */
  reused?(tokens: number, cached: number): void;
}

/** Measurements of a text that has ended. */
export interface EndedText {
  readonly finish: FinishReason;
  /** From when it was asked for. */
  readonly seconds: number;
  /** Spent reading the part of its prompt that no state had read. */
  readonly promptSeconds: number;
  /** Spent in rounds. */
  readonly decodeSeconds: number;
  /** Of prompt and continuation. */
  readonly tokens: number;
}
