/** A conversion's options and events. */
import type { MixerConfig } from '../attention/mixer.ts';
import type { Share } from '../jobs/result-store.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import type { TransferInputs } from './layer-states.ts';
import type { JudgeName } from './judge.ts';
import type { MixerOptions } from './plan.ts';
import type { StageResult } from './progress-file.ts';
import type { StageSteps } from './stages.ts';

/** Which layers keep softmax: none, given ones, or a number of layers chosen by measuring. */
export type KeptLayers = { readonly layers: readonly number[] } | { readonly auto: number };

/** Options of a conversion. */
export interface ConversionOptions extends MixerOptions {
  /** Seconds for all training together. */
  readonly budget: number;
  /** Optimizer steps per stage instead of `budget`: the same result on every machine. */
  readonly steps?: StageSteps;
  /** Layers that keep softmax: named, or chosen by measuring. */
  readonly keep: KeptLayers;
  /** Decides on the best weights and on branches. Default `both`. */
  readonly judge?: JudgeName;
  /** Sequences per optimizer step. Default 8. */
  readonly batch?: number;
  /**
   * Tokens per row in `transfer` and `logits`; `long` has twice as many. Default: 512, or fewer if the model was trained on
   * fewer.
   */
  readonly length?: number;
  /** Memory limit in bytes. Default: three quarters of the available memory. */
  readonly memoryBytes?: number;
  /** Whose hidden states layers trained by themselves learn on. Default: the original's. */
  readonly inputs?: TransferInputs;
  /** Seeds the shuffle. Default 0. */
  readonly seed?: number;
  /** Folder for progress, snapshots and weights. */
  readonly folder: string;
  /** Resumes the conversion in the folder. */
  readonly resume?: boolean;
  /** Starts over, removing any conversion in the folder. */
  readonly replace?: boolean;
  /** Redis queue whose workers train layers, in stages that train each by itself; they need access to `folder`. */
  readonly queue?: string;
  /**
   * Folder or `s3://bucket/prefix` (`openResults`) for layers' results, in stages that train each by itself. Layers with a
   * result are not trained; the others are, and their results stored. Needs `steps`.
   */
  readonly store?: string;
  /** Trains only this part of the layers, and nothing after them: other machines with the same `store` use the results. */
  readonly share?: Share;
  /** Threads and device. Default: all CPU cores. */
  readonly compile?: CompileOptions;
  /** Stops the work, with an error `ABORTED`; the folder then has all that `resume` needs. */
  readonly signal?: AbortSignal;
  /** Called as stages start, step and finish. */
  readonly onEvent?: (event: ConversionEvent) => void;
  /**
   * Awaited before the first stage, in a folder known to be free: the original's validation perplexity, and the new mixer.
   */
  readonly onStart?: (original: number, mixer: MixerConfig) => Promise<void>;
}

/** A conversion's events. */
export type ConversionEvent =
  | { readonly kind: 'sensitivity'; readonly done: number; readonly total: number }
  | { readonly kind: 'skipped'; readonly stage: string; readonly reason: string }
  | { readonly kind: 'started'; readonly stage: string; readonly steps: number; readonly description: string }
  | {
      readonly kind: 'step';
      readonly stage: string;
      readonly done: number;
      readonly total: number;
      readonly loss: number;
    }
  | { readonly kind: 'finished'; readonly result: StageResult; readonly resumed: boolean };
