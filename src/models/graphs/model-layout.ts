/** Layout of a model's decoding state: built once per model; the engine and its states carry it. */
import { openBlock, type SequenceStep } from '../../attention/masks.ts';
import {
  type Horizon,
  horizonOf,
  type LayoutInputs,
  type MixerConfig,
  mixerDims,
  recurrentForm,
  stateBytes,
  type RecurrentForm,
  stateShape,
  type StateShape,
} from '../../attention/mixers.ts';
import { type Tensor, addDims } from '../../graph/tensor.ts';
import type { AutoregressiveModel } from '../model.ts';
import { type StepForms, stepFormsOf } from './step-forms.ts';

/** Layers whose slots are equal share masks and slot positions. */
export interface SlotLayout {
  /** ℓ in the mask inputs' names, distinct per horizon and slots. */
  readonly name: string;
  /** Its index in `ModelLayout.slotLayouts`, and its positions' index in a state. */
  readonly index: number;
  readonly horizon: Horizon;
  /** C: slots in the ring; undefined for a growing cache. */
  readonly ring?: number;
  /** Rows that a closed group leaves; undefined if groups are summed or forgotten. */
  readonly rowsPerGroup?: number;
  /** Which ring rows are read with the tree's; undefined for none. */
  readonly open?: OpenRing;
  /** Whether blocks need `leastColumns` rows for scores to be summed in the same order. */
  readonly isWide: boolean;
  /** Whether no node sees a group that closed within its tree: steps then end where groups are folded. */
  readonly withinFolds: boolean;
  /** Step-graph inputs besides masks, once for all its layers; undefined for none. */
  readonly inputs?: SlotInputs;
  /** Its layers. */
  readonly layers: readonly number[];
}

/** All rows of a short ring, or the rows since the last multiple of `openBlock`. */
export type OpenRing = 'whole' | 'block';

/** `LayoutInputs` of a layout's mixers. */
export interface SlotInputs {
  /** The inputs' types by name. */
  readonly types: ReturnType<LayoutInputs<MixerConfig>['declare']>;
  /** See `LayoutInputs`. */
  readonly sumsOf?: LayoutInputs<MixerConfig>['sumsOf'];
  /** Their values for one step: see `LayoutInputs`. */
  feeds(steps: readonly SequenceStep[], nodes: number, slots: number): Record<string, Tensor>;
}

/** A stretch of the numbers that a step returns per node and key-value head. */
export interface RowSlice {
  readonly start: number;
  readonly width: number;
  /** Equal parts of a row; states keep each in its own matrix. */
  readonly parts: number;
}

/** An output of a step: new rows of all layers with this many key-value heads. */
export interface RowOutput {
  readonly name: string;
  readonly heads: number;
  /** R: numbers per node and key-value head. */
  readonly width: number;
}

/** One layer. */
export interface LayerLayout {
  /** The mixer as its steps compute it (`RecurrentForm.stepConfig`). */
  readonly mixer: MixerConfig;
  /** The form it decodes by here. */
  readonly form: RecurrentForm<MixerConfig>;
  readonly state: StateShape;
  readonly slots: SlotLayout;
  /** M of the layer's state. */
  readonly heads: number;
  /** Index in `rows` of the output with its new rows. */
  readonly output: number;
  /** Places of a node's key row and value row among the output's R numbers. */
  readonly keys: RowSlice;
  readonly values: RowSlice;
  /** Rows and columns of S per key-value head; undefined for a layer without sums. */
  readonly sums?: readonly [rows: number, columns: number];
}

/** Layers whose closed groups are folded in one run: same slots, same fold. */
export interface FoldClass {
  readonly slots: SlotLayout;
  /** M of its layers. */
  readonly heads: number;
  /** Names the fold graph; classes with different slots may share it. */
  readonly program: string;
  /** Rows and columns of S per key-value head; null if closed groups leave rows. */
  readonly sums: readonly [rows: number, columns: number] | null;
  readonly layers: readonly number[];
}

export interface ModelLayout {
  /** Numbers whose multiples no tree crosses, so that nodes have the same bits in every tree; empty if they do not. */
  readonly boundaries: readonly number[];
  /** Why they do not; undefined if they do. */
  readonly roundingCause?: string;
  /** Whether kernels may process product rows in pairs. */
  readonly inPairs: boolean;
  /** Whether product rows are then counted apart from mixed nodes (`MixedRows`): not if most mixers are light. */
  readonly productRows: boolean;
  /** Most paths in a draft: replaying more costs more than they bring (docs/verify.md). */
  readonly draftPaths: number;
  readonly layers: readonly LayerLayout[];
  /** The distinct slot layouts, in order of first use. */
  readonly slotLayouts: readonly SlotLayout[];
  /** One output per number of key-value heads, in order of first use. */
  readonly rows: readonly RowOutput[];
  readonly folds: readonly FoldClass[];
}

/**
 * A model's layout.
 * @param forms default: all
 * @throws LinnetError `CONFIG` for a mixer that cannot decode
 */
export function modelLayout(model: AutoregressiveModel, stepForms: StepForms = stepFormsOf()): ModelLayout {
  const { opens, replays, productRows, ordered, crossesFolds, columns } = stepForms;
  const { sizes, mixers, biasReach } = model;
  const slotLayouts = new Map<string, SlotLayout & { layers: number[]; isWide: boolean }>();
  const rows: { name: string; heads: number; width: number }[] = [];
  const layers = mixers.map((ofLayer, layer): LayerLayout => {
    const dims = mixerDims(ofLayer, sizes);
    const form = recurrentForm(ofLayer, replays);
    const mixer = form.stepConfig?.(ofLayer) ?? ofLayer;
    const state = stateShape(mixer, dims, form);
    const { heads = dims.keyValueHeads } = state;
    let output = rows.findIndex((known) => known.heads === heads);
    if (output < 0) output = rows.push({ name: rows.length === 0 ? 'rows' : `rows.${heads}`, heads, width: 0 }) - 1;
    const slice = (width: number, parts = 1): RowSlice => {
      const start = rows[output].width;
      rows[output].width += width;
      return { start, width, parts };
    };
    const horizon = { ...horizonOf(mixer, biasReach), span: state.folded?.span };
    const own = slotLayout(mixer, form, state, horizon, opens, crossesFolds);
    const slots = slotLayouts.get(own.name) ?? { ...own, index: slotLayouts.size };
    const { folded, keyWidth } = state;
    slots.layers.push(layer);
    slots.isWide ||= (form.scoreWidth?.(mixer, dims) ?? keyWidth) > stretch;
    slotLayouts.set(slots.name, slots);
    return {
      mixer,
      form,
      state,
      slots,
      heads,
      output,
      keys: slice(keyWidth),
      values: slice(state.valueWidth, columns ? columnParts(form, slots, state) : 1),
      sums: folded?.kind === 'sums' ? [folded.rows, folded.columns] : undefined,
    };
  });
  const slots = [...slotLayouts.values()];
  const boundariesOrCause = opens ? boundariesOf(layers) : roundingCauses.graphs;
  const [boundaries, roundingCause = ordered ? undefined : causeOfUnordered(model, layers)] =
    typeof boundariesOrCause === 'string' ? [[], boundariesOrCause] : [boundariesOrCause];
  // Without boundaries, trees and prompt chunks end anywhere.
  if (boundaries.length === 0 && !crossesFolds) return modelLayout(model, { ...stepForms, crossesFolds: true });
  const inPairs = productRows && boundaries.length > 0 && (sizes.shiftWidth ?? 0) === 0;
  const light = layers.filter(({ form }) => form.isLight === true).length;
  return {
    boundaries,
    roundingCause,
    inPairs,
    productRows: inPairs && 2 * light < layers.length,
    draftPaths: layers.some(({ form, mixer }) => form.sameBits?.(mixer)?.startsWith('replayed')) ? 2 : Infinity,
    layers,
    slotLayouts: slots,
    rows,
    folds: foldClasses(layers),
  };
}

/** Value columns that a product sums fastest. */
const cacheColumns = 16;

function columnParts(
  { readsColumns }: RecurrentForm<MixerConfig>,
  { ring, open }: SlotLayout,
  { valueWidth }: StateShape,
): number {
  const inColumns = readsColumns && ring === undefined && open && valueWidth % cacheColumns === 0;
  return inColumns ? valueWidth / cacheColumns : 1;
}

/** Numbers that the runtime's products sum in order, with up to 64 columns more. */
export const stretch = 128;
/** Rows per block from which on longer scores are summed in the same order: above 64, and a multiple of lanes for denominators. */
export const leastColumns = 80;

/** A row's length must divide by this: otherwise rows begin at different places in a lane. */
const laneWidth = 4;

/** Why tokens are equal only up to rounding (docs/verify.md). */
export const roundingCauses = {
  graphs: 'graphs without open rows, as for WebGPU',
  kernels: 'kernels that sum in another order',
  forms: 'linformer with blocks or filters over more than 64 positions, rfa with a feature count not divisible by 8',
  widths: `rows of a width not divisible by ${laneWidth}`,
  unordered: 'exports of earlier versions, of T5 and windows with a memory',
} as const;

/** Why graphs that are not `ordered` have other bits. */
function causeOfUnordered({ cross, sizes }: AutoregressiveModel, layers: readonly LayerLayout[]): string | undefined {
  const takesLogarithms = layers.some(
    ({ form, mixer, heads }) =>
      (sizes.heads / heads) % 2 === 1 && form.sameBits?.(mixer)?.startsWith('logarithms') === true,
  );
  return takesLogarithms || cross !== undefined ? roundingCauses.unordered : undefined;
}

/** The boundaries, or the cause if there are none. */
function boundariesOf(layers: readonly LayerLayout[]): readonly number[] | string {
  const boundaries = new Set<number>();
  for (const { mixer, form, state, slots, keys, values } of layers) {
    const { horizon, open } = slots;
    const sameBits = form.sameBits?.(mixer);
    if (sameBits === 'replayed rows') continue;
    const isFolded = state.folded !== null && sameBits !== 'replayed open rows';
    const fits = (keys.width % laneWidth) + (values.width % laneWidth) === 0;
    if (sameBits === undefined) return roundingCauses.forms;
    if (!fits) return roundingCauses.widths;
    if (isFolded) boundaries.add(horizon.span ?? horizon.group);
    if (open === 'block') boundaries.add(openBlock);
  }
  return boundaries.size === 0 ? [openBlock] : [...boundaries];
}

function slotLayout(
  mixer: MixerConfig,
  form: RecurrentForm<MixerConfig>,
  { slots, folded }: StateShape,
  horizon: Horizon,
  opens: boolean,
  crossesFolds: boolean,
): Omit<SlotLayout, 'index'> & { layers: number[]; isWide: boolean } {
  const { group, reach, window = 1, sinks = 0, span = group } = horizon;
  const { inputs } = form;
  const rowsPerGroup = folded?.kind === 'rows' ? folded.perGroup : undefined;
  const name = [
    slots === 'growing' ? 'cache' : Number.isFinite(group) ? `g${group}` : '',
    span === group ? '' : `x${span}`,
    window === 1 ? '' : `w${window}`,
    sinks === 0 ? '' : `s${sinks}`,
    reach < 0 ? '' : `p${reach}`,
    slots === 'growing' ? '' : `c${slots}`,
    rowsPerGroup === undefined ? '' : `r${rowsPerGroup}`,
    inputs?.tag?.(mixer) ?? '',
  ].join('');
  const ring = slots === 'growing' ? undefined : slots;
  // Sinks have their own queries, which read them in the ring.
  const opened: OpenRing = ring !== undefined && ring <= openBlock && sinks === 0 ? 'whole' : 'block';
  const open = opens && form.sameBits?.(mixer)?.endsWith('open rows') === true ? opened : undefined;
  const opening = open !== undefined;
  const U = openRows(name);
  const folds = folded !== null && ring !== undefined && form.sameBits?.(mixer)?.startsWith('replayed') === false;
  const withinFolds = opening && folds && !crossesFolds && span === group;
  const treeRows = opening ? addDims(U, 'T') : 'T';
  const dims = { slots: ring ?? 'C', treeRows, opens: opening, openRows: U, withinFolds };
  const types = inputs?.declare(mixer, dims, (dim) => `${dim}${name}`) ?? {};
  const feeds: SlotInputs['feeds'] = (steps, T, C) => inputs?.feeds(mixer, steps, T, C) ?? {};
  const own = Object.keys(types).length === 0 ? undefined : { types, feeds, sumsOf: inputs?.sumsOf };
  return { name, horizon, ring, rowsPerGroup, open, isWide: false, withinFolds, inputs: own, layers: [] };
}

/** The number of matrices S in a layout's layer, as a dimension. */
export function countOfSums({ name, inputs }: SlotLayout): string {
  return inputs?.sumsOf === undefined ? 'B' : `X${name}`;
}

/** A layout's U, as a dimension. */
export function openRows(layout: string): string {
  return `U.${layout}`;
}

function foldClasses(layers: readonly LayerLayout[]): FoldClass[] {
  const classes = new Map<string, FoldClass & { layers: number[] }>();
  layers.forEach(({ mixer, form, state, slots, heads, sums = null }, layer) => {
    const { fold } = form;
    if (fold === undefined || state.folded === null) return;
    const program = fold.shareAs(mixer) ?? `layer ${layer}`;
    const key = `${slots.name} ${program}`;
    const known = classes.get(key) ?? { slots, heads, program, sums, layers: [] };
    known.layers.push(layer);
    classes.set(key, known);
  });
  return [...classes.values()];
}

/** A model's distinct fold graphs: name, and the first layer it can be made from. */
export function foldGraphs({ folds }: ModelLayout): { readonly name: string; readonly layer: number }[] {
  const firstLayers = new Map<string, number>();
  for (const { program, layers } of folds) firstLayers.set(program, firstLayers.get(program) ?? layers[0]);
  return Array.from(firstLayers, ([name, layer]) => ({ name, layer }));
}

/** Bytes of all layers' states in float32 after `context` tokens. */
export function modelStateBytes(
  { mixers, sizes }: Pick<AutoregressiveModel, 'mixers' | 'sizes'>,
  context: number,
): number {
  return mixers.reduce((total, mixer) => total + stateBytes(mixer, mixerDims(mixer, sizes), 4, context), 0);
}
