/** Requests of the *Attention* and *Mask* views to the worker. */
import type { Branch } from '../../src/attention/mixer.ts';

/** A mixer for the open model, built in the tab. */
export interface ViewMixer {
  /** `own`: the model's mixers and parameters; the other fields are ignored. */
  readonly preset: 'own' | 'window' | 'augmented' | 'local+global';
  /** G. */
  readonly group: number;
  /** K, for presets with a convolution. */
  readonly kernel: number;
  readonly masked: boolean;
  /**
   * The mixer's own parameters. `start`: as after linearization, where new branches have no weight. `drawn`: random
   * values that switch every branch on.
   */
  readonly parameters: 'start' | 'drawn';
}

/** One layer's weights. */
export interface ShownLayer {
  /** Description of the mixer. */
  readonly mixer: string;
  /** H. */
  readonly heads: number;
  /** G; 0 for a single endless group. */
  readonly group: number;
  /** W and s; 1 and 0 if the mixer has none. */
  readonly window: number;
  readonly sinks: number;
  /** [H,T,T] by branch. */
  readonly branches: Readonly<Partial<Record<Branch, Float32Array>>>;
  /** Bytes of the layer's state after the text, in float32. */
  readonly stateBytes: number;
}

/** A text as read by two models of the same weights: with the mixer, and with softmax attention. */
export interface Looked {
  readonly tokens: readonly string[];
  readonly linear: readonly ShownLayer[];
  readonly softmax: readonly ShownLayer[];
}

/** Movement of predictions when tokens are replaced, one at a time. */
export interface Moved {
  readonly tokens: readonly string[];
  /** Each token's replacement. */
  readonly replacements: readonly string[];
  /** [T,T]: entry (p,t) is the largest movement of a logit at t when the token at p is replaced. */
  readonly moved: Float32Array;
}

export type ViewRequest =
  | { readonly name: 'look'; readonly text: string; readonly mixer: ViewMixer }
  | { readonly name: 'move'; readonly text: string; readonly mixer: ViewMixer };

export interface ViewAnswers {
  readonly look: Looked;
  readonly move: Moved;
}
