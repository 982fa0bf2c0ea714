/**
 * The interface of a mixer kind; every kind implements it in its own folder under `kinds/`. No code outside that folder
 * asks for the kind of a mixer; the functions that work for any mixer are in `mixers.ts`.
 *
 * A mixer mixes positions. For one head and position t of a causal sequence or token tree, the paper's linear kind is
 *
 *     local_t  = Σ kernel(q_t, k_j)·v_j      over ancestors-or-self j in t's group ⌊t/G⌋
 *     global_t = Σ ⟨q̂_t, k̂_j⟩·v_j            over ancestors j in earlier groups
 *     conv_t   = Σ_τ w[P−τ]·v_{t−τ}           masked depthwise convolution, τ = 0…P, P = (K−1)/2
 *     o_t      = λ·local_t + α·global_t + conv_t
 *
 * (paper, section 4: grouped linear attention, section 4.2: masked depthwise convolution), with q̂ = q/‖q‖. Softmax
 * attention is replaced by the other kinds. Every kind has its formula three times: as a reference in float64, as a graph
 * over whole sequences, and, where it can decode, as a graph over token trees on top of a state.
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

/** How one attention layer mixes positions: plain data, as in the `linnet` section of config.json. */
export interface MixerConfig {
  /** The name of its kind in the table of `kinds/index.ts`. */
  readonly kind: string;
}

/** Which positions a position reads: its past, or the whole text. */
export type Reading = 'past' | 'whole';

/** Shape of a layer's state per sequence. */
export interface StateShape {
  /** C: slots of the sinks and of the ring that holds the rows of the last positions; `growing`: a slot for every position. */
  readonly slots: number | 'growing';
  /** 1 where rows, and S, are of all heads together. Default: the key-value heads. */
  readonly heads?: 1;
  /** Width of a key row per key-value head. */
  readonly keyWidth: number;
  /** Width of a value row per key-value head. */
  readonly valueWidth: number;
  /** State of closed groups; null where they are forgotten. */
  readonly folded: FoldedShape | null;
}

/**
 * `sums`: one matrix S [rows,columns] per key-value head, of constant size. `rows`: a fixed number of rows of keys and of
 * values per closed group, a memory that grows with the text.
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

/** Input of a mixer over whole texts in which every position reads all tokens. */
export interface BidirectionalInput extends SequenceInput {
  /** float32 [B,n]: 1 for tokens, 0 for padding. Values at padded positions are zero. */
  readonly mask: Value;
}

/** Input of a mixer over token trees. */
export interface StepInput extends SequenceInput {
  readonly heads: HeadLayout;
  /** The ring, or the growing cache: rows as `MixerStepOutput` gave them. */
  readonly ring: StepBlock;
  /** The masks of the open rows, if any, and of the tree's own rows, which the mixer makes. */
  readonly treeMasks: StepMasks;
  /** Rows of the ring that are read together with the tree's; only in forms of `open rows`. */
  readonly open?: OpenRows;
  /** Whether S has all that is older than the windows of the nodes: no row is `earlier`. */
  readonly withinFolds: boolean;
  /** S [B,M,rows,columns], as often as `LayoutInputs.sumsOf` says; only where the state has sums. */
  readonly sums?: Value;
  /** Rows of closed groups; only where the state has them. */
  readonly memory?: StepMemory;
  /** By the names of the form's `inputs`. */
  readonly inputs: Readonly<Record<string, Value>>;
  /** The filters of all layers that meet the same offsets, and the layer's place among them. Default: its own alone. */
  readonly filters?: { readonly all: readonly Value[]; readonly place: number };
  readonly horizon: Horizon;
}

/**
 * The last rows of the ring in the order of their positions, at which the tree's rows continue: so sums over both run position
 * by position, whatever part of a text is a tree (docs/reference/three-forms.md).
 */
export interface OpenRows {
  /** [B,M,U,D] */
  readonly keys: Value;
  /** [B,M,U,E] */
  readonly values: Value;
  /** Whether they are all rows of the ring, which then is not read. */
  readonly whole: boolean;
  /** Ones for every column of the open rows and the tree [1,1,U+T,E or 16], with which weights are added up in order. */
  readonly ones: Value;
  /** The same for the ring's [1,1,C,E or 16]; undefined where reductions add them up in the same lanes in every step. */
  readonly onesOfRing?: Value;
}

/** Rows that closed groups left, as a step reads them. */
export interface StepMemory {
  /** [B,M,S,D] */
  readonly keys: Value;
  /** [B,M,S,E] */
  readonly values: Value;
  /** float32 0/1 [B,1,1,S]: rows in use. */
  readonly held: Value;
}

/** A layer's results of a step. */
export interface MixerStepOutput {
  /** [B,M,R·T,E], see `HeadLayout`. */
  readonly mixed: Value;
  /** Rows [B,M,T,keyWidth]: written to the ring when a node is accepted. */
  readonly keys: Value;
  /** [B,M,T,valueWidth] */
  readonly values: Value;
  /** S after the `endingSteps`: [any,M,rows,columns]. Default: the step does not compute it. */
  readonly sums?: Value;
}

/** Folding closed groups into the state: a graph of its own, run when a group closes. */
export interface Fold<C extends MixerConfig> {
  /** Layers whose folds have this name in common share a graph; null: the fold reads parameters of its own layer. */
  shareAs(config: C): string | null;
  /**
   * With sums: S ← S + the terms of n closed rows; `keys` [X,n,keyWidth], `values` [X,n,valueWidth] and `sums` [X,rows,columns],
   * where X runs over layers and heads (over the M heads of one layer if the fold has parameters; two axes in a fold `byLayer`); → like `sums`.
   *
   * With rows: the rows of N closed groups; `keys` [M,N,G,keyWidth], `values` [M,N,G,valueWidth] → [M,N,perGroup,keyWidth +
   * valueWidth], keys and values next to each other.
   */
  fold(config: C, input: FoldInput): Value;
  /** Leading numbers of keys and values that it reads, of which `fold` is given no others. Default: all. */
  reads?(config: C): { readonly keys?: number; readonly values?: number };
  /** Whether it reads the heads of a layer together. Default: no. */
  readonly byLayer?: boolean;
  /** Whether it reads `ages`. Default: no. */
  readsAges?(config: C): boolean;
}

/** Input of a state update: the rows of closed groups, and the previous state. */
export interface FoldInput {
  readonly keys: Value;
  readonly values: Value;
  /** @throws LinnetError `INTERNAL` where the state has no sums */
  readonly sums: Value;
  readonly parameters: MixerParameterValues;
  readonly scoring: Pick<Scoring, 'scale'>;
  /** R: query heads that share keys. */
  readonly repeat: number;
  /** Only where the fold reads them: folded groups behind each row [n]; number of folded groups [1]. */
  readonly ages?: { readonly rows: Value; readonly groups: Value };
}

/** Dimensions of a layout. */
export interface LayoutDims {
  /** C: slots of the ring. */
  readonly slots: Dim;
  /** T, after the open rows. */
  readonly treeRows: Dim;
  /** Whether there are open rows. */
  readonly opens: boolean;
  /** U: open rows, where there are such. */
  readonly openRows: Dim;
  /** Whether no node sees a group that closed within its tree. */
  readonly withinFolds: boolean;
}

/** Inputs of the step graph that a kind needs beyond masks and state, once per layout of states. */
export interface LayoutInputs<C extends MixerConfig> {
  /** Ends the name of a layout of slots, to tell it from others whose masks are the same. Default: nothing does. */
  tag?(config: C): string;
  /** Their types, none where it has no such inputs; `named` makes a named dimension of the layout. B and T are `B` and `T`. */
  declare(config: C, rows: LayoutDims, named: (name: string) => string): Record<string, { dtype: DType; shape: Dim[] }>;
  /** The sequence of each S that the form reads. Default: one S of each sequence. */
  readonly sumsOf?: (steps: readonly Pick<SequenceStep, 'tree'>[]) => readonly number[];
  /** Their values for one step of B sequences with trees of up to T nodes and rings of C slots. */
  feeds(config: C, steps: readonly SequenceStep[], nodes: number, slots: number): Record<string, Tensor>;
}

/** The recurrent form of a mixer: over token trees, on top of a state. */
export interface RecurrentForm<C extends MixerConfig> {
  /** Shape of the layer's state. */
  state(config: C, dims: AttentionDims): StateShape;
  /** The nodes of a token tree over the state: their outputs and their rows for the ring. */
  step(config: C, input: StepInput): MixerStepOutput;
  /** Needed where the state has something folded. */
  readonly fold?: Fold<C>;
  /** Further inputs of its step graph beyond masks and state. Default: none. */
  readonly inputs?: LayoutInputs<C>;
  /**
   * How a node has the same bits whatever stands beside it and however the text before it was read: its sums run over open rows
   * and the tree's, or, in `own rows`, over a list of rows for each node, or it replays rows
   * one by one from a state on, of the ring or open ones. Absent: it has them up to rounding. With logarithms it has them where an odd
   * number of heads shares keys only in graphs that are `ordered`.
   */
  sameBits?(config: C): `${'' | 'replayed ' | 'logarithms of '}open rows` | 'own rows' | 'replayed rows' | undefined;
  /** The configuration that it computes, where groups are a size that changes no result. Default: the same. */
  stepConfig?(config: C): C;
  /** For targets without the operators that this form needs, a form that does without. Default: this form. */
  readonly byProducts?: RecurrentForm<C>;
  /** Numbers of a key that a score adds up. Default: the width of key rows. */
  scoreWidth?(config: C, dims: AttentionDims): number;
  /** Whether a spare row costs it less than leaving it out does. Default: no. */
  readonly isLight?: boolean;
  /** Whether it reads the values of a cache in columns (`StepForms.columns`). Default: no. */
  readonly readsColumns?: boolean;
  /** Tokens of a prompt that are read fastest in one step. Default: 128. */
  readonly promptChunk?: number;
}

/** Keys and values [B,m,H,D] of another text and its mask [B,m]: 0 for padding. */
export interface CrossText {
  readonly k: Value;
  readonly v: Value;
  readonly mask: Value;
}

/** The stored form of another text: tensors by name, the batch first. */
export type CrossMemory = Readonly<Record<string, Value>>;

/** Attention to another text in two steps: a memory of its keys and values is computed once, then read by every token. */
export interface CrossForm<C extends MixerConfig> {
  /** Tensors of the memory, without the batch: shapes in which `m` stands for the length of the text. */
  tensors(config: C, dims: AttentionDims): Readonly<Record<string, Dim[]>>;
  /** The memory of the text, for `read`. */
  memory(config: C, text: CrossText, parameters: MixerParameterValues, scoring: Scoring): CrossMemory;
  /** Queries [B,n,H,D] → [B,n,H,E], without a convolution. */
  read(config: C, q: Value, memory: CrossMemory, parameters: MixerParameterValues, scoring: Scoring): Value;
  /** Both at once, where training needs more than the two: a gradient that the memory does not pass. */
  whole?(config: C, input: BidirectionalInput): Value;
}

/** Options of a preset by name: zod schemas with a description, from which the command line makes its options. */
export type PresetShape = Readonly<Record<string, z.ZodType>>;

/** A named mixer: a kind with the settings that the paper, or the field, knows by that name. */
export interface MixerPreset<Shape extends PresetShape = PresetShape> {
  /** All are optional; the kind's schema holds the defaults. */
  readonly shape: Shape;
  /** The name of the preset that it means where attention reads a whole text. Default: itself. */
  readonly wholeText?: string;
  /**
   * From options to the input of the kind's schema. Options that are not in the shape are ignored.
   * @throws LinnetError `CONFIG` for an option out of range
   */
  make(options: JsonObject): object;
}

/** Parts of a mixer that an ablation switches off. */
export const branches = ['memory', 'window', 'sinks', 'convolution'] as const;
/** One of `branches`. */
export type Branch = (typeof branches)[number];

/** From a configuration to the remaining one without a branch. */
interface Ablations<C extends MixerConfig> extends Partial<Record<Branch, unknown>> {
  memory?(config: C): unknown;
  window?(config: C): unknown;
  sinks?(config: C): unknown;
  convolution?(config: C): unknown;
}

/** Dependence of the output on the parameters that can be chosen from examples without training. */
export interface Calibration {
  /** Names of parameters that the output is an affine function of, together. */
  readonly affine: readonly string[];
  /** Parameters of one number per query head, or per key-value head, that act on their head alone, and values to try. */
  readonly searched: readonly { readonly name: string; readonly candidates: readonly number[] }[];
}

/** One kind of mixer: everything that it is. */
export interface MixerKind<C extends MixerConfig = MixerConfig> {
  /** Its name in the table of kinds. */
  readonly kind: C['kind'];
  /** The family whose models alone can have it. Default: any can. */
  readonly family?: string;
  /**
   * The sizes of its layer, where that has projections of its own in place of attention and can have no other mixer. Default:
   * the sizes of the model's attention. @param model.width of hidden states
   */
  ownDims?(config: C, model: AttentionDims & { readonly width: number }): AttentionDims;
  /** Reads a configuration and fills in defaults. Unknown fields are refused. */
  readonly schema: z.ZodType<C>;
  /** Small configurations by name, for tests of its forms. */
  readonly examples?: Readonly<Record<string, object>>;
  /** A description of one line. */
  describe(config: C): string;
  /** The parameters that a layer has next to its projections. */
  parameters(config: C, dims: AttentionDims): MixerParameter[];
  /** How far it sees. Default: its `group`, endless without that field, and the reach of its convolution. */
  horizon?(config: C): Horizon;
  /** Whether a position reads later ones even without a convolution. Default false. */
  readonly readsFuture?: boolean;
  /** The longest sequence that its parameters serve. Default: no limit. */
  maximumLength?(config: C): number;
  /** Width of a row of queries or keys as the mixer is given it. Default: the head width. */
  rowWidth?(config: C, headWidth: number): number;
  /** Whether the convolution of an encoder reads the projections of padding, as the paper's T5 does. Default false. */
  convolvesPadding?(config: C): boolean;
  /** Whether the gradient of queries and keys is a surrogate of the derivative. Default false. */
  hasSurrogateGradient?(config: C): boolean;
  /** Float32 error relative to the largest output, beyond that from the order of sums. Default 0. */
  float32Error?(config: C): number;
  /** The formula as loops in float64: [H,n,E]. */
  reference(config: C, positions: ReferencePositions): Float64Array;
  /** Whole sequences, each position reading itself and its past: [B,n,H,E]. */
  parallel(config: C, input: SequenceInput): Value;
  /** Absent: it cannot decode. */
  readonly recurrent?: RecurrentForm<C>;
  /**
   * Whole texts, each position reading all tokens: [B,n,H,E], without the convolution, which is added to it; undefined where
   * nothing is read. Absent: no encoder can have it.
   */
  bidirectional?(config: C, input: BidirectionalInput): Value | undefined;
  /** Absent: it pairs positions, and cannot read another text. */
  readonly cross?: CrossForm<C>;
  /** This configuration's form for cross attention. Default: the same without its convolution. */
  betweenTexts?(config: C): object;
  /** Whether this configuration can read another text. Default: as `cross` is there. */
  canCross?(config: C): boolean;
  /**
   * Branches that can be switched off: from a configuration to the remaining one, null or false without such a branch. One that
   * the schema refuses does not remain. Default: the convolution.
   */
  readonly without?: Ablations<C>;
  /** Parameters for the closed-form initialization beside the filter of a convolution, in which the output is affine. Default: none. */
  calibration?(config: C, trainedLength: number): Partial<Calibration>;
  /** Its settings that have a name, as `--mixer` takes them. */
  readonly presets: Readonly<Record<string, MixerPreset>>;
}
