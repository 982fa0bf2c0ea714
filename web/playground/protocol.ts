/** What the page and the worker that computes say to each other. */
import type { DrafterName, ExportManifest, OpeningProgress, SamplerInput, WebDevice } from '../../src/web.ts';
import type { TrainAnswers, TrainProgress, TrainRequest } from './train-protocol.ts';
import type { ViewAnswers, ViewRequest } from './views-protocol.ts';

/** Where a model comes from. */
export type ChosenModel =
  | { readonly kind: 'url'; readonly url: string }
  /** Files of an exported folder, by their names in it. */
  | { readonly kind: 'files'; readonly name: string; readonly files: ReadonlyMap<string, File> };

/** What the page shows of an opened model. */
export interface ModelFacts {
  readonly name: string;
  readonly family: string;
  readonly layers: number;
  /** Names of the mixers in use. */
  readonly mixers: readonly string[];
  /** Where it computes: what it was exported for. */
  readonly device: WebDevice;
  readonly dtype: ExportManifest['dtype'];
  readonly threads: number;
  /** Bytes that a softmax model of these sizes keeps per token, in float32: 2·G·D in every layer. */
  readonly cacheBytesPerToken: number;
}

/** How a text continues. */
export interface WriteOptions {
  readonly maxTokens: number;
  readonly sampler: SamplerInput;
  /** Where guesses come from. */
  readonly speculate: DrafterName;
}

/** A text that the worker holds. */
export interface TextFacts {
  readonly text: string;
  /** Tokens of the text, BOS included. */
  readonly length: number;
  readonly stateBytes: number;
}

/** How a generation went. */
export interface Written extends TextFacts {
  /** Tokens that were written, in order. */
  readonly tokens: readonly number[];
  readonly rounds: number;
  readonly tokensPerSecond: number;
  readonly finish: string;
}

/** A drafted tree with texts for tokens. */
export interface ShownTree {
  readonly tokens: readonly string[];
  readonly parents: readonly number[];
  readonly accepted: readonly number[];
  readonly next: string;
  /** Where the guess of each node comes from. */
  readonly sources: readonly string[];
}

/** What comes before an answer. */
export type AnswerProgress =
  | TrainProgress
  | ({ readonly type: 'opening' } & OpeningProgress)
  | {
      readonly type: 'written';
      /** Text that has become certain. */
      readonly text: string;
      /** Tokens so far, prompt included. */
      readonly length: number;
      readonly stateBytes: number;
      /** What was guessed in the round, with speculation. */
      readonly tree: ShownTree | undefined;
    };

/** What is asked of the worker. Texts are numbered by the page. */
export type Request =
  | TrainRequest
  /** The first one of a page that shares the worker: `lock` is free when the page has gone. */
  | { readonly name: 'page'; readonly lock: string }
  /** Default of `threads`: half the cores, four at most; one where the page is not isolated, whatever is asked for. */
  | { readonly name: 'open'; readonly source: ChosenModel; readonly threads: number | undefined }
  /** Adds `added` to text `id`, which is new where the worker does not know it, and goes on from there. */
  | { readonly name: 'write'; readonly id: number; readonly added: string; readonly options: WriteOptions }
  /** Makes text `id` a copy of `from`. */
  | { readonly name: 'fork'; readonly id: number; readonly from: number }
  /** Keeps text `id` in the browser, as a session of this name. */
  | { readonly name: 'save'; readonly id: number; readonly as: string }
  /** Makes text `id` of a kept session. */
  | { readonly name: 'restore'; readonly id: number; readonly from: string }
  | { readonly name: 'forget'; readonly id: number }
  /** Ends current writing or training. */
  | { readonly name: 'stop' }
  | ViewRequest;

/** Answers by the name of the request. */
export interface Answers extends TrainAnswers, ViewAnswers {
  readonly page: true;
  readonly open: ModelFacts;
  readonly write: Written;
  readonly fork: TextFacts;
  readonly save: true;
  readonly restore: TextFacts;
  readonly forget: true;
  readonly stop: true;
}

export interface ToWorker {
  readonly call: number;
  readonly request: Request;
}

export type FromWorker = { readonly call: number } & (
  | { readonly type: 'progress'; readonly progress: AnswerProgress }
  /** Holds the answer under the name of the request. */
  | { readonly type: 'answer'; readonly answers: Partial<Answers> }
  | { readonly type: 'failed'; readonly message: string }
);
