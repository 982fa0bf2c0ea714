/** What the views of attention and of the mask ask of the worker. */
import type { Branch } from '../../src/attention/mixer.ts';

/** A mixer that the open model is given in the tab. */
export interface ViewMixer {
  /** `own`: the mixers of the model with their parameters; nothing else counts then. */
  readonly preset: 'own' | 'window' | 'augmented' | 'local+global';
  /** G. */
  readonly group: number;
  /** K; of presets with a convolution. */
  readonly kernel: number;
  readonly masked: boolean;
  /**
   * What the mixer's own parameters are: `start`, as after linearization, where new branches count nothing; `drawn`, random
   * ones that switch every branch on.
   */
  readonly parameters: 'start' | 'drawn';
}

/** One layer's weights. */
export interface ShownLayer {
  /** Readable description of the mixer. */
  readonly mixer: string;
  /** H. */
  readonly heads: number;
  /** G; 0 if one group never ends. */
  readonly group: number;
  /** W and s, 1 and 0 if the mixer has none. */
  readonly window: number;
  readonly sinks: number;
  /** [H,T,T] by branch. */
  readonly branches: Readonly<Partial<Record<Branch, Float32Array>>>;
  /** Bytes of the layer's state after the text, in float32. */
  readonly stateBytes: number;
}

/** A text as two models read it: one with the mixer, and one of the same weights with softmax attention. */
export interface Looked {
  readonly tokens: readonly string[];
  readonly linear: readonly ShownLayer[];
  readonly softmax: readonly ShownLayer[];
}

/** What moved when tokens were replaced, one at a time. */
export interface Moved {
  readonly tokens: readonly string[];
  /** What each token was replaced by. */
  readonly replacements: readonly string[];
  /** [T,T]: place (p,t) is the largest movement of a logit at t when the token at p was replaced. */
  readonly moved: Float32Array;
}

export type ViewRequest =
  | { readonly name: 'look'; readonly text: string; readonly mixer: ViewMixer }
  | { readonly name: 'move'; readonly text: string; readonly mixer: ViewMixer };

export interface ViewAnswers {
  readonly look: Looked;
  readonly move: Moved;
}
