/** Messages between the page and the worker. */
import type { DrafterName, ExportManifest, OpeningProgress, SamplerInput, WebDevice } from '../../src/web.ts';
import type { TrainAnswers, TrainProgress, TrainRequest } from './train-protocol.ts';
import type { ViewAnswers, ViewRequest } from './views-protocol.ts';

/** A model's source. */
export type ChosenModel =
  | { readonly kind: 'url'; readonly url: string }
  /** An exported folder's files by name. */
  | { readonly kind: 'files'; readonly name: string; readonly files: ReadonlyMap<string, File> };

/** Facts about an opened model that the page shows. */
export interface ModelFacts {
  readonly name: string;
  readonly family: string;
  readonly layers: number;
  /** Names of the mixers in use. */
  readonly mixers: readonly string[];
  /** The device that it was exported for. */
  readonly device: WebDevice;
  readonly dtype: ExportManifest['dtype'];
  readonly threads: number;
  /** Bytes per token that a softmax model of this size keeps, in float32: 2·G·D in every layer. */
  readonly cacheBytesPerToken: number;
}

/** Settings for continuing a text. */
export interface WriteOptions {
  readonly maxTokens: number;
  readonly sampler: SamplerInput;
  /** Source of the guesses. */
  readonly speculate: DrafterName;
}

/** A text in the worker. */
export interface TextFacts {
  readonly text: string;
  /** Tokens, BOS included. */
  readonly length: number;
  readonly stateBytes: number;
}

/** Results of a generation. */
export interface Written extends TextFacts {
  /** Written tokens, in order. */
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
  /** Source of each node's guess. */
  readonly sources: readonly string[];
}

/** Messages before an answer. */
export type AnswerProgress =
  | TrainProgress
  | ({ readonly type: 'opening' } & OpeningProgress)
  | {
      readonly type: 'written';
      /** Newly final text. */
      readonly text: string;
      /** Tokens so far, prompt included. */
      readonly length: number;
      readonly stateBytes: number;
      /** The round's guesses, with speculation. */
      readonly tree: ShownTree | undefined;
    };

/** Requests to the worker. The page numbers texts. */
export type Request =
  | TrainRequest
  /** First request of a page that shares the worker; `lock` is released when the page goes. */
  | { readonly name: 'page'; readonly lock: string }
  /** Default of `threads`: half the cores, at most four; always one if the page is not isolated. */
  | { readonly name: 'open'; readonly source: ChosenModel; readonly threads: number | undefined }
  /** Appends `added` to text `id`, new or known, and continues. */
  | { readonly name: 'write'; readonly id: number; readonly added: string; readonly options: WriteOptions }
  /** Makes text `id` a copy of `from`. */
  | { readonly name: 'fork'; readonly id: number; readonly from: number }
  /** Saves text `id` in the browser as a session of this name. */
  | { readonly name: 'save'; readonly id: number; readonly as: string }
  /** Opens a kept session as text `id`. */
  | { readonly name: 'restore'; readonly id: number; readonly from: string }
  | { readonly name: 'forget'; readonly id: number }
  /** Stops writing or training. */
  | { readonly name: 'stop' }
  | ViewRequest;

/** Answers by request name. */
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
  /** The answer, under the request's name. */
  | { readonly type: 'answer'; readonly answers: Partial<Answers> }
  | { readonly type: 'failed'; readonly message: string }
);
