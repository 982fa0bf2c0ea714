/** Options and events of a conversion. */
import type { MixerConfig } from '../attention/mixer.ts';
import type { Share } from '../jobs/result-store.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import type { TransferInputs } from './layer-states.ts';
import type { JudgeName } from './judge.ts';
import type { MixerOptions } from './plan.ts';
import type { StageResult } from './progress-file.ts';
import type { StageSteps } from './stages.ts';

/** Which layers keep softmax: none, given ones, or a number of layers, which are chosen by measuring. */
export type KeptLayers = { readonly layers: readonly number[] } | { readonly auto: number };

/** Options of a conversion. */
export interface ConversionOptions extends MixerOptions {
  /** Seconds for all training together. */
  readonly budget: number;
  /** Optimizer steps of each stage in place of `budget`: the same result on every machine. */
  readonly steps?: StageSteps;
  /** Layers that keep softmax: named, or chosen by measurement. */
  readonly keep: KeptLayers;
  /** What decides about the best weights and about branches. Default `both`. */
  readonly judge?: JudgeName;
  /** Sequences per optimizer step. Default 8. */
  readonly batch?: number;
  /** Tokens of a row of `transfer` and `logits`; `long` has twice as many. Default: 512, or fewer if the model was trained on fewer. */
  readonly length?: number;
  /** The most memory to take, in bytes. Default: three quarters of the available memory. */
  readonly memoryBytes?: number;
  /** Whose hidden states layers learn on that are trained by themselves. Default: the original's. */
  readonly inputs?: TransferInputs;
  /** Of the shuffle. Default 0. */
  readonly seed?: number;
  /** Progress, snapshots and weights go here. */
  readonly folder: string;
  /** Resumes the conversion in the folder. */
  readonly resume?: boolean;
  /** Begins anew where the folder holds a conversion, which is removed. */
  readonly replace?: boolean;
  /** Redis of a queue whose workers train the layers of stages that train each by itself; they must have `folder` too. */
  readonly queue?: string;
  /**
   * Folder or `s3://bucket/prefix` (`openResults`) of results of layers, in stages that train each by itself. A layer with a
   * result is not trained; others are, and their results are kept. Needs `steps`.
   */
  readonly store?: string;
  /** Trains only this part of the layers, and nothing after them: their results are for others, who have the same `store`. */
  readonly share?: Share;
  /** Threads and device. Default: all cores of the CPU. */
  readonly compile?: CompileOptions;
  /** Stops the work, with an error `ABORTED`; the folder then has all that `resume` needs. */
  readonly signal?: AbortSignal;
  /** Called as stages start, step and finish. */
  readonly onEvent?: (event: ConversionEvent) => void;
  /** Awaited before the first stage, in a folder known to be free: validation perplexity of the original, and the new mixer. */
  readonly onStart?: (original: number, mixer: MixerConfig) => Promise<void>;
}

/** Events of a conversion. */
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
