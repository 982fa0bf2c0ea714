/** Training messages between the page and the worker. */
import type { SamplerInput } from '../../src/web.ts';

/** The page's settings; all others are as in `linnet finetune`. */
export interface TrainSettings {
  readonly steps: number;
  readonly learningRate: number;
  /** Rows per update. */
  readonly batch: number;
  /** Tokens per row. */
  readonly length: number;
  readonly seed: number;
}

export type TrainRequest =
  /** Trains the open model on a text, from its opened parameters; discards earlier training. */
  | { readonly name: 'train'; readonly text: string; readonly settings: TrainSettings }
  /** Writes with the open model or the trained one. */
  | {
      readonly name: 'try';
      readonly prompt: string;
      readonly maxTokens: number;
      readonly sampler: SamplerInput;
      readonly trained: boolean;
    }
  /** Requests the trained parameters as a safetensors file. */
  | { readonly name: 'weights' };

export interface TrainAnswers {
  readonly train: { readonly updates: number; readonly total: number; readonly finished: boolean };
  readonly try: string;
  readonly weights: Blob;
}

/** Messages before the answer to `train`. */
export type TrainProgress =
  /** The text is cut into rows; compiling comes next. */
  | { readonly type: 'planned'; readonly tokens: number; readonly rows: number }
  | {
      readonly type: 'updated';
      /** From 1. */
      readonly update: number;
      readonly total: number;
      /** Before the update, in nats per token. */
      readonly loss: number;
      readonly seconds: number;
    };
