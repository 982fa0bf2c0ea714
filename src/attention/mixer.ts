/**
 * The interface of a mixer kind; every kind implements it in its own folder under `kinds/`. No code outside that folder
 * asks for a mixer's kind; functions that work for any mixer are in `mixers.ts`.
 *
 * A mixer mixes positions. For one head and position t of a causal sequence or token tree, the paper's linear kind is
 *
 *     local_t  = Σ kernel(q_t, k_j)·v_j      over ancestors-or-self j in t's group ⌊t/G⌋
 *     global_t = Σ ⟨q̂_t, k̂_j⟩·v_j            over ancestors j in earlier groups
 *     conv_t   = Σ_τ w[P−τ]·v_{t−τ}           masked depthwise convolution, τ = 0…P, P = (K−1)/2
 *     o_t      = λ·local_t + α·global_t + conv_t
 *
 * (paper, section 4: grouped linear attention, section 4.2: masked depthwise convolution), with q̂ = q/‖q‖. The other kinds
 * replace softmax attention. Every kind has its formula three times: as a reference in float64, as a graph over whole
 * sequences and, if it can decode, as a graph over token trees on top of a state.
 */
import type { z } from 'zod';
import type { Value } from '../graph/graph.ts';
import type { DType, Dim, Tensor } from '../graph/tensor.ts';
import type {
  AttentionDims,
  HeadCounts,
  Horizon,
  MixerParameter,
  MixerParameterValues,
  ProjectedPositions,
  StepBlock,
  StepMasks,
} from './attention-layer.ts';
import type { HeadLayout } from './head-layout.ts';
import type { SequenceStep } from './masks.ts';
import type { ReferencePositions } from './reference.ts';
import type { Scoring } from './scoring.ts';
import type { JsonObject } from '../files/json-object.ts';

export type {
  AttentionDims,
  HeadCounts,
  Horizon,
  MixerParameter,
  MixerParameterValues,
  ProjectedPositions,
  StepBlock,
  StepMasks,
};

/** How one attention layer mixes positions: plain data, as in config.json's `linnet` section. */
export interface MixerConfig {
  /** Its kind's name in the table of `kinds/index.ts`. */
  readonly kind: string;
}

/** Which positions a position reads: its past, or the whole text. */
export type Reading = 'past' | 'whole';

/** Shape of a layer's state per sequence. */
export interface StateShape {
  /** C: slots for the sinks and the ring of the last positions' rows; `growing`: a slot for every position. */
  readonly slots: number | 'growing';
  /** 1 if rows and S hold all heads together. Default: the key-value heads. */
  readonly heads?: 1;
  /** Width of a key row per key-value head. */
  readonly keyWidth: number;
  /** Width of a value row per key-value head. */
  readonly valueWidth: number;
  /** State of closed groups; null if they are forgotten. */
  readonly folded: FoldedShape | null;
}

/**
 * `sums`: one matrix S [rows,columns] per key-value head, of constant size. `rows`: a fixed number of key and value rows
 * per closed group, a memory that grows with the text.
 */
export type FoldedShape = (
  | { readonly kind: 'sums'; readonly rows: number; readonly columns: number }
  | { readonly kind: 'rows'; readonly perGroup: number }
) &
  Pick<Horizon, 'span'>;

/** Input of a mixer over whole sequences. */
export interface SequenceInput extends ProjectedPositions {
  readonly parameters: MixerParameterValues;
  readonly scoring: Scoring;
}

/** Input for whole texts in which every position reads all tokens. */
export interface BidirectionalInput extends SequenceInput {
  /** float32 [B,n]: 1 for tokens, 0 for padding. Values at padded positions are zero. */
  readonly mask: Value;
}

/** Input for token trees. */
export interface StepInput extends SequenceInput {
  readonly heads: HeadLayout;
  /** The ring, or the growing cache: rows from earlier `MixerStepOutput`s. */
  readonly ring: StepBlock;
  /** Masks of the open rows, if any, and of the tree's own rows, which the mixer makes. */
  readonly treeMasks: StepMasks;
  /** Ring rows read together with the tree's; only in `open rows` forms. */
  readonly open?: OpenRows;
  /** Whether S holds everything older than the nodes' windows: no row is `earlier`. */
  readonly withinFolds: boolean;
  /** S [B,M,rows,columns], as many as `LayoutInputs.sumsOf` says; only if the state has sums. */
  readonly sums?: Value;
  /** Rows of closed groups; only if the state has them. */
  readonly memory?: StepMemory;
  /** By the names in the form's `inputs`. */
  readonly inputs: Readonly<Record<string, Value>>;
  /** The filters of all layers that meet the same offsets, and this layer's place among them. Default: only its own. */
  readonly filters?: { readonly all: readonly Value[]; readonly place: number };
  readonly horizon: Horizon;
}

/**
 * The ring's last rows in order of position, which the tree's rows continue. So sums over both run position by position,
 * whatever part of a text is a tree (docs/reference/three-forms.md).
 */
export interface OpenRows {
  /** [B,M,U,D] */
  readonly keys: Value;
  /** [B,M,U,E] */
  readonly values: Value;
  /** Whether they are all of the ring's rows, so that the ring itself is not read. */
  readonly whole: boolean;
  /** Ones for every column of the open rows and the tree [1,1,U+T,E or 16], which sum weights in order. */
  readonly ones: Value;
  /** Ones for the ring's columns [1,1,C,E or 16]; undefined if reductions sum them in the same lanes in every step. */
  readonly onesOfRing?: Value;
}

/** Rows of closed groups, as a step reads them. */
export interface StepMemory {
  /** [B,M,S,D] */
  readonly keys: Value;
  /** [B,M,S,E] */
  readonly values: Value;
  /** float32 0/1 [B,1,1,S]: rows in use. */
  readonly held: Value;
}

/** A layer's results in a step. */
export interface MixerStepOutput {
  /** [B,M,R·T,E], see `HeadLayout`. */
  readonly mixed: Value;
  /** Rows [B,M,T,keyWidth]: written to the ring once a node is accepted. */
  readonly keys: Value;
  /** [B,M,T,valueWidth] */
  readonly values: Value;
  /** S after the `endingSteps`: [any,M,rows,columns]. Default: the step does not compute it. */
  readonly sums?: Value;
}

/** Folds closed groups into the state: a separate graph that runs when a group closes. */
export interface Fold<C extends MixerConfig> {
  /** Layers whose folds share this name share a graph; null: the fold reads its own layer's parameters. */
  shareAs(config: C): string | null;
  /**
   * For sums: S ← S + the terms of n closed rows; `keys` [X,n,keyWidth], `values` [X,n,valueWidth] and `sums`
   * [X,rows,columns], where X runs over layers and heads (over the M heads of one layer if the fold has parameters; two
   * axes in a fold `byLayer`); → like `sums`.
   *
   * For rows: the rows of N closed groups; `keys` [M,N,G,keyWidth], `values` [M,N,G,valueWidth] → [M,N,perGroup,keyWidth +
   * valueWidth], keys and values side by side.
   */
  fold(config: C, input: FoldInput): Value;
  /** Leading numbers of keys and values that `fold` reads and is given. Default: all. */
  reads?(config: C): { readonly keys?: number; readonly values?: number };
  /** Whether it reads a layer's heads together. Default: no. */
  readonly byLayer?: boolean;
  /** Whether it reads `ages`. Default: no. */
  readsAges?(config: C): boolean;
}

/** Input of a fold: rows of closed groups, and the previous state. */
export interface FoldInput {
  readonly keys: Value;
  readonly values: Value;
  /** @throws LinnetError `INTERNAL` if the state has no sums */
  readonly sums: Value;
  readonly parameters: MixerParameterValues;
  readonly scoring: Pick<Scoring, 'scale'>;
  /** R: query heads that share keys. */
  readonly repeat: number;
  /** Only for folds that read them: folded groups behind each row [n]; number of folded groups [1]. */
  readonly ages?: { readonly rows: Value; readonly groups: Value };
}

/** Dimensions of a layout. */
export interface LayoutDims {
  /** C: slots in the ring. */
  readonly slots: Dim;
  /** T, after the open rows. */
  readonly treeRows: Dim;
  /** Whether there are open rows. */
  readonly opens: boolean;
  /** U: open rows, if any. */
  readonly openRows: Dim;
  /** Whether no node sees a group that closed within its tree. */
  readonly withinFolds: boolean;
}

/** Step-graph inputs that a kind needs besides masks and state, once per layout of states. */
export interface LayoutInputs<C extends MixerConfig> {
  /** Suffix for a slot layout's name, to tell it from others with the same masks. Default: none. */
  tag?(config: C): string;
  /** Their types, empty without such inputs; `named` makes a named dimension of the layout. B and T are `B` and `T`. */
  declare(config: C, rows: LayoutDims, named: (name: string) => string): Record<string, { dtype: DType; shape: Dim[] }>;
  /** The sequence of each S that the form reads. Default: one S per sequence. */
  readonly sumsOf?: (steps: readonly Pick<SequenceStep, 'tree'>[]) => readonly number[];
  /** Their values for one step of B sequences with trees of up to T nodes and rings of C slots. */
  feeds(config: C, steps: readonly SequenceStep[], nodes: number, slots: number): Record<string, Tensor>;
}

/** A mixer's recurrent form: over token trees, on top of a state. */
export interface RecurrentForm<C extends MixerConfig> {
  /** Shape of the layer's state. */
  state(config: C, dims: AttentionDims): StateShape;
  /** Mixes a token tree's nodes over the state: outputs, and rows for the ring. */
  step(config: C, input: StepInput): MixerStepOutput;
  /** Required if the state has a folded part. */
  readonly fold?: Fold<C>;
  /** Step-graph inputs besides masks and state. Default: none. */
  readonly inputs?: LayoutInputs<C>;
  /**
   * What gives a node the same bits whatever stands beside it and however the text before it was read. It sums over open
   * rows and the tree's or, in `own rows`, over a list of rows per node; or it replays rows, open or the ring's, one by one
   * from a state. `logarithms of`: only `ordered` graphs guarantee it if an odd number of heads shares keys. Absent: equal
   * up to rounding.
   */
  sameBits?(config: C): `${'' | 'replayed ' | 'logarithms of '}open rows` | 'own rows' | 'replayed rows' | undefined;
  /** The configuration it computes, if groups are a size that changes no result. Default: the same. */
  stepConfig?(config: C): C;
  /** A form for targets that lack this form's operators. Default: this form. */
  readonly byProducts?: RecurrentForm<C>;
  /** Numbers of a key that a score sums. Default: the width of key rows. */
  scoreWidth?(config: C, dims: AttentionDims): number;
  /** Whether a spare row costs it less than leaving it out. Default: no. */
  readonly isLight?: boolean;
  /** Whether it reads a cache's values in columns (`StepForms.columns`). Default: no. */
  readonly readsColumns?: boolean;
  /** Prompt tokens per step that it reads fastest. Default: 128. */
  readonly promptChunk?: number;
}

/** Another text's keys and values [B,m,H,D], and its mask [B,m]: 0 for padding. */
export interface CrossText {
  readonly k: Value;
  readonly v: Value;
  readonly mask: Value;
}

/** Another text in stored form: tensors by name, batch first. */
export type CrossMemory = Readonly<Record<string, Value>>;

/** Attention to another text in two steps: computes a memory of its keys and values once, which every token then reads. */
export interface CrossForm<C extends MixerConfig> {
  /** The memory's tensors without the batch: shapes in which `m` is the text's length. */
  tensors(config: C, dims: AttentionDims): Readonly<Record<string, Dim[]>>;
  /** Makes the text's memory for `read`. */
  memory(config: C, text: CrossText, parameters: MixerParameterValues, scoring: Scoring): CrossMemory;
  /** Queries [B,n,H,D] → [B,n,H,E], without a convolution. */
  read(config: C, q: Value, memory: CrossMemory, parameters: MixerParameterValues, scoring: Scoring): Value;
  /** Both at once, for training that needs more than the two: a gradient that the memory does not pass. */
  whole?(config: C, input: BidirectionalInput): Value;
}

/** A preset's options by name: zod schemas with descriptions, from which the command line makes its options. */
export type PresetShape = Readonly<Record<string, z.ZodType>>;

/** A named mixer: a kind with the settings that the paper, or the field, knows by that name. */
export interface MixerPreset<Shape extends PresetShape = PresetShape> {
  /** All are optional; the kind's schema holds the defaults. */
  readonly shape: Shape;
  /** The preset that its name means for attention that reads a whole text. Default: itself. */
  readonly wholeText?: string;
  /**
   * Turns options into input for the kind's schema. Ignores options outside the shape.
   * @throws LinnetError `CONFIG` for an option out of range
   */
  make(options: JsonObject): object;
}

/** Parts of a mixer that an ablation switches off. */
export const branches = ['memory', 'window', 'sinks', 'convolution'] as const;
/** One of `branches`. */
export type Branch = (typeof branches)[number];

/** Configurations that remain without a branch. */
interface Ablations<C extends MixerConfig> extends Partial<Record<Branch, unknown>> {
  memory?(config: C): unknown;
  window?(config: C): unknown;
  sinks?(config: C): unknown;
  convolution?(config: C): unknown;
}

/** The parameters that can be chosen from examples without training. */
export interface Calibration {
  /** Names of parameters in which, together, the output is affine. */
  readonly affine: readonly string[];
  /** Parameters with one number per query head or key-value head that affect their head only, and values to try. */
  readonly searched: readonly { readonly name: string; readonly candidates: readonly number[] }[];
}

/** One kind of mixer, with everything that defines it. */
export interface MixerKind<C extends MixerConfig = MixerConfig> {
  /** Its name in the table of kinds. */
  readonly kind: C['kind'];
  /** The only family whose models can have it. Default: any. */
  readonly family?: string;
  /**
   * Its layer's sizes, if that has its own projections instead of attention's and can have no other mixer. Default: the
   * sizes of the model's attention. @param model.width of hidden states
   */
  ownDims?(config: C, model: AttentionDims & { readonly width: number }): AttentionDims;
  /** Reads a configuration and fills in defaults. Refuses unknown fields. */
  readonly schema: z.ZodType<C>;
  /** Small configurations by name, to test its forms with. */
  readonly examples?: Readonly<Record<string, object>>;
  /** A one-line description. */
  describe(config: C): string;
  /** The parameters of a layer besides its projections. */
  parameters(config: C, dims: AttentionDims): MixerParameter[];
  /** How far it sees. Default: its `group` (endless without that field) and its convolution's reach. */
  horizon?(config: C): Horizon;
  /** Whether a position reads later ones even without a convolution. Default false. */
  readonly readsFuture?: boolean;
  /** The longest sequence its parameters serve. Default: no limit. */
  maximumLength?(config: C): number;
  /** Width of the query and key rows it receives. Default: the head width. */
  rowWidth?(config: C, headWidth: number): number;
  /** Whether an encoder's convolution reads the projections of padding, as in the paper's T5. Default false. */
  convolvesPadding?(config: C): boolean;
  /** Whether queries and keys get a surrogate gradient, not the derivative. Default false. */
  hasSurrogateGradient?(config: C): boolean;
  /** Float32 error relative to the largest output, beyond rounding from summation order. Default 0. */
  float32Error?(config: C): number;
  /** The reference, float64 loops: [H,n,E]. */
  reference(config: C, positions: ReferencePositions): Float64Array;
  /** Mixes whole sequences; each position reads itself and its past: [B,n,H,E]. */
  parallel(config: C, input: SequenceInput): Value;
  /** Absent: it cannot decode. */
  readonly recurrent?: RecurrentForm<C>;
  /**
   * Mixes whole texts; each position reads all tokens: [B,n,H,E], to which the caller adds the convolution; undefined if
   * nothing is read. Absent: no encoder can have it.
   */
  bidirectional?(config: C, input: BidirectionalInput): Value | undefined;
  /** Absent: it pairs positions, so it cannot read another text. */
  readonly cross?: CrossForm<C>;
  /** This configuration's form for cross attention. Default: the same without its convolution. */
  betweenTexts?(config: C): object;
  /** Whether this configuration can read another text. Default: whether `cross` exists. */
  canCross?(config: C): boolean;
  /**
   * Branches that can be switched off, each with the configuration that remains: null or false if it lacks the branch. A
   * configuration that the schema refuses counts as none. Default: the convolution.
   */
  readonly without?: Ablations<C>;
  /**
   * Further parameters, besides a convolution's filter, for the closed-form initialization: the output is affine in them.
   * Default: none.
   */
  calibration?(config: C, trainedLength: number): Partial<Calibration>;
  /** Its named settings, as `--mixer` takes them. */
  readonly presets: Readonly<Record<string, MixerPreset>>;
}
