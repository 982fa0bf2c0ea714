/** What the page and the worker say to each other about training. */
import type { SamplerInput } from '../../src/web.ts';

/** Settings on the page; all others are as in `linnet finetune`. */
export interface TrainSettings {
  readonly steps: number;
  readonly learningRate: number;
  /** Rows of an update. */
  readonly batch: number;
  /** Tokens of a row. */
  readonly length: number;
  readonly seed: number;
}

export type TrainRequest =
  /** Trains the open model on a text from its own parameters, discarding earlier training. */
  | { readonly name: 'train'; readonly text: string; readonly settings: TrainSettings }
  /** Writes with the open model, or with the trained one. */
  | {
      readonly name: 'try';
      readonly prompt: string;
      readonly maxTokens: number;
      readonly sampler: SamplerInput;
      readonly trained: boolean;
    }
  /** Asks for the trained parameters, as a safetensors file. */
  | { readonly name: 'weights' };

export interface TrainAnswers {
  readonly train: { readonly updates: number; readonly total: number; readonly finished: boolean };
  readonly try: string;
  readonly weights: Blob;
}

/** What comes before the answer of `train`. */
export type TrainProgress =
  /** The text is cut into rows; what follows first is compiling. */
  | { readonly type: 'planned'; readonly tokens: number; readonly rows: number }
  | {
      readonly type: 'updated';
      /** Counted from 1. */
      readonly update: number;
      readonly total: number;
      /** Before the update, in nats per token. */
      readonly loss: number;
      readonly seconds: number;
    };
