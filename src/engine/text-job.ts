/** Jobs for the text engine: a prompt, how to continue it, and the events in reply. */
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

/** Why a text ended: `maxTokens` reached, a stop token or string, an EOS token of the model, or the signal. */
export type FinishReason = 'length' | 'stop' | 'eos' | 'abort';

/** What ends a text besides the model's EOS tokens. Strings need a tokenizer. */
export interface StopRules {
  readonly tokenIds?: readonly number[];
  readonly strings?: readonly string[];
  /** Whether the stop string that ends a text is part of it. Default false. */
  readonly kept?: boolean;
  /** Ignores stop strings in the text of the first `after` tokens. Default 0. */
  readonly after?: number;
}

/** A prompt, and how to continue it. */
export interface TextJob {
  readonly prompt: Prompt;
  /** Most tokens per text; 0 only reads the prompt. */
  readonly maxTokens: number;
  /** Number of texts that continue the prompt. Default 1. */
  readonly n?: number;
  /** Default: greedy. A sampler is used directly, for one text; from settings, each text gets its own seed, counting up. */
  readonly sampling?: SamplerInput | Sampler;
  /** Random state to continue from, instead of a seed; for one text. */
  readonly random?: RandomState;
  /** Tokens that presence and frequency penalties count: prompt and text, or only the text. Default `all`. */
  readonly penalizes?: 'all' | 'answer';
  readonly stop?: StopRules;
  /** Treats EOS as an ordinary token. Default false. */
  readonly ignoreEos?: boolean;
  /** Tokens before which nothing ends a text. Default 0; not with `constraint`. */
  readonly leastTokens?: number;
  /** Holds a text to a grammar, starting at the prompt's end. */
  readonly constraint?: Pick<GrammarConstraint, 'after'>;
  /** Turns the texts' tokens into characters. Default: the runner's. */
  readonly tokenizer?: Tokenizer;
  /** How to decode, for one text. Default: with `drafter`. */
  readonly method?: DecodingMethod;
  /** Drafts for texts without scores. Default: the runner's. */
  readonly drafter?: DrafterName;
  /** Log-probabilities to report; decodes one token per round. */
  readonly scores?: {
    /** Most probable tokens to report with each prompt token. Default: no prompt scores. */
    readonly prompt?: number;
    /** Most probable tokens to report with each text token. Default: no text scores. */
    readonly text?: number;
  };
  /** Whether events carry verified trees. Default false. */
  readonly trees?: boolean;
  /** A state that has read a proper prefix of the prompt; the job owns it from now on. Default: from the prefix cache. */
  readonly state?: SequenceState;
  /** Owners share rows and prompt chunks evenly. Default ''. */
  readonly owner?: string;
  /** Among an owner's waiting jobs, lower numbers begin first. Default 0. */
  readonly priority?: number;
  /** Separates cached prompt prefixes, and what drafters learn from texts. Default ''. */
  readonly salt?: string;
  /** Whether prompt prefixes are cached and looked up, and drafters learn for later texts. Default true. */
  readonly kept?: boolean;
  /** Ends the texts between two steps; the texts so far are the result. */
  readonly signal?: AbortSignal;
}

/** A part of the prompt has been read. */
export interface PromptEvent {
  readonly type: 'prompt';
  readonly done: number;
  readonly total: number;
  /** Time spent reading the prompt so far. */
  readonly seconds: number;
  /** Prompt tokens that a state had read before. */
  readonly cached: number;
  /** Has read `done` tokens; texts continue with it. */
  readonly state: SequenceState;
  /** With the last part: scores of the prompt's second token and later ones, if the job requests them. */
  readonly scores: readonly TokenScore[];
}

/** A round's addition to a text. The lists and the text may be empty. */
export interface TokensEvent {
  readonly type: 'tokens';
  readonly choice: number;
  /** Tokens that became part of the text. */
  readonly tokens: readonly number[];
  /** Characters that became certain; others may have to wait for later tokens. */
  readonly text: string;
  /** Scores of tokens whose characters are all certain. */
  readonly scores: readonly PlacedScore[];
  /** Trees verified since the text's last event, if the job requests them; at most the last 16. */
  readonly trees: readonly VerifiedTree[];
}

/** A text ended; its state has settled. */
export interface EndEvent {
  readonly type: 'end';
  readonly choice: number;
  readonly generation: Generation;
  /** Scores of tokens that no earlier event carried. */
  readonly scores: readonly PlacedScore[];
  readonly sampler: Sampler;
}

/** A job's events, in order. */
export type TextEvent = PromptEvent | TokensEvent | EndEvent;

/** A job's events as they arrive; leaving the loop over them ends it. */
export type TextRun = AsyncGenerator<TextEvent, void, undefined>;

/** A finished continuation. */
export interface Generation {
  /**
   * The continuation, without an EOS or stop token that ended it, but with tokens that completed a stop string: such a token
   * may also hold text before the string.
   */
  readonly tokens: readonly number[];
  /** The tokens' text, without the stop string. */
  readonly text: string;
  /** Thoughts before the text and not in it: for a session's answer to messages by a model with thoughts. */
  readonly thoughts?: string;
  readonly finish: FinishReason;
  /** Rounds of the method; fewer than tokens if a round yields several. The first needs no run of the model. */
  readonly steps: number;
  /** Length of the prompt, including BOS if the prompt was empty. */
  readonly promptTokens: number;
  /** Time spent reading the part of the prompt that no state had read. */
  readonly prefillSeconds: number;
  /** Time from the beginning to the end of the method's rounds, including other texts' share of their steps. */
  readonly decodeSeconds: number;
  /** Tokens per second of `decodeSeconds`, without the first, which the prompt predicts; 0 if there are none. */
  readonly tokensPerSecond: number;
  /** Has read the prompt and the tokens, usually without the last one. */
  readonly state: SequenceState;
}

/** How to run jobs, and how many at a time. */
export interface RunnerOptions {
  /** Turns tokens into characters. Without one, texts are empty. */
  readonly tokenizer?: Tokenizer;
  /** Most texts read or decoded at a time. Default 8. */
  readonly parallel?: number;
  /** Most waiting requests: a job, or one `submitAll`'s jobs. Default 64. */
  readonly maxQueue?: number;
  /** Prompt tokens read between two rounds. Default: the engine's `promptChunk`. */
  readonly chunk?: number;
  /**
   * Whether every prompt and every text runs in its own steps. Kernels round differently for different numbers of rows: this
   * way no bit of a text depends on texts decoded with it. Default false.
   */
  readonly deterministic?: boolean;
  /** Bytes of events a reader may leave waiting before its texts pause. Default 64 KiB. */
  readonly readerBytes?: number;
  /** Milliseconds before a reader that takes nothing is abandoned. Default 30 s. */
  readonly readerTimeout?: number;
  /** The same while the runner closes. Default 5 s. */
  readonly closingTimeout?: number;
  /** Drafts for texts whose jobs name neither method nor drafter. Default `off`: one token per round. */
  readonly drafter?: DrafterName;
  /** Drafts instead of `drafter`: the engine of the model's layer of multi-token prediction, which remains the caller's. */
  readonly mtp?: StepEngine;
  /** What drafters learned so far. Default: they learn from this runner's texts. */
  readonly learned?: LearnedByOwner;
  /** States of recurring prefixes. Default: keeps none. */
  readonly prefixes?: PrefixCache;
  /** Receives events, for metrics. */
  readonly observer?: RunnerObserver;
}

/** A runner's callbacks, for metrics. */
export interface RunnerObserver {
  /** A round of `texts` texts took `seconds` and yielded `tokens` tokens. */
  round?(texts: number, seconds: number, tokens: number): void;
  /** A chunk of a prompt was read. */
  chunk?(tokens: number, seconds: number): void;
  /** A job began after waiting. */
  admitted?(seconds: number): void;
  /** A job was cancelled while it waited, was read, or was decoded. */
  cancelled?(stage: 'queue' | 'prompt' | 'decode'): void;
  /** A text's first tokens arrived, `seconds` after it was requested. */
  firstTokens?(seconds: number): void;
  /** More of a text's tokens arrived, `seconds` after the previous ones. */
  nextTokens?(tokens: number, seconds: number): void;
  /** A text ended. */
  ended?(text: EndedText): void;
  /** A round drafted tokens for a text and accepted some. */
  drafted?(tokens: number, accepted: number): void;
  /** A prompt was read from a state that had read `cached` of its tokens. */
  reused?(tokens: number, cached: number): void;
}

/** Measurements of a finished text. */
export interface EndedText {
  readonly finish: FinishReason;
  /** Since its request. */
  readonly seconds: number;
  /** Spent reading the part of its prompt that no state had read. */
  readonly promptSeconds: number;
  /** Spent in rounds. */
  readonly decodeSeconds: number;
  /** In prompt and continuation. */
  readonly tokens: number;
}
