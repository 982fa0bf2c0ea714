/** What the step graph reads of states and trees: masks, rings, sums and rows of groups, as its table of inputs names them. */
import { fillMasks, makeMaskBuffers, type MaskBuffers, type TreeRule } from '../../attention/masks.ts';
import { recurrentForm } from '../../attention/mixers.ts';
import type { TokenTree } from '../../attention/tree.ts';
import { type Tensor, tensor } from '../../graph/tensor.ts';
import type { AutoregressiveModel } from '../../models/model.ts';
import type { ModelLayout, SlotLayout } from '../../models/graphs/model-layout.ts';
import { slotInputName } from '../../models/graphs/step-graph.ts';
import type { KeptMemory } from '../../runtime/kept-memory.ts';
import { BatchRows } from './batch-rows.ts';
import { EncodedFeeds } from './encoded-text.ts';
import type { SequenceState } from './sequence-state.ts';

/** One sequence's part in a step. */
export interface StepSequence {
  readonly state: SequenceState;
  readonly tree: TokenTree;
  /** By which rule the nodes see the text and each other. Default: exactly. */
  readonly rule?: TreeRule;
}

/** What a step is fed, and where those of it are kept that stay from step to step. */
export interface StepInputs {
  readonly feeds: Record<string, Tensor>;
  readonly kept: ReadonlyMap<string, KeptMemory>;
}

/** For which program feeds are made. */
export interface FeedsReader {
  /** Steps that take turns with others have buffers of their own: prompts that are read between rounds, for example. */
  readonly lane: string;
  /** Whether it copies what it is fed, but for what is kept. */
  readonly copiesFeeds: boolean;
}

/** Takes what the graph reads. */
type Feed = (name: string, value: Tensor) => void;

/** Mask buffers of so many shapes are kept. */
const keptBuffers = 16;

/** Makes the feeds of steps, in buffers that are used again: those of one step must be read before the next is made. */
export class StepFeeds {
  readonly #model: AutoregressiveModel;
  readonly #layout: ModelLayout;
  /** Whether the graph reads an input: a local mixer has no offsets, a softmax one no earlier groups. */
  readonly #reads: (name: string) => boolean;
  readonly #encoded: EncodedFeeds;
  readonly #rows = new BatchRows();
  #buffers = new Map<string, MaskBuffers>();

  constructor(model: AutoregressiveModel, layout: ModelLayout, reads: (name: string) => boolean) {
    this.#model = model;
    this.#layout = layout;
    this.#reads = reads;
    this.#encoded = new EncodedFeeds(model);
  }

  /** The order in which a step best takes sequences: for each place the index of one. */
  arrange(sequences: readonly StepSequence[], lane: string): readonly number[] {
    return this.#rows.arrange(
      lane,
      sequences.map(({ state }) => state),
    );
  }

  /**
   * @param T nodes of the largest tree
   * @throws LinnetError `INPUT` for a state without a text, where the model reads one
   */
  feeds(sequences: readonly StepSequence[], T: number, reader: FeedsReader): StepInputs {
    const feeds: Record<string, Tensor> = {};
    const feed: Feed = (name, value) => {
      if (this.#reads(name)) feeds[name] = value;
    };
    const kept = new Map<string, KeptMemory>();
    for (const slots of this.#layout.slotLayouts) this.#feedSlots(feed, sequences, T, slots);
    for (let layer = 0; layer < this.#layout.layers.length; layer++) {
      this.#feedLayer(feed, sequences, layer, reader, kept);
    }
    Object.assign(feeds, this.#encoded.feeds(sequences.map(({ state }) => state.encoded)));
    if ((this.#model.sizes.shiftWidth ?? 0) > 0) this.#feedShifts(feed, sequences, T);
    return { feeds, kept };
  }

  /** Masks and offsets of a layout, and what its kind of mixer needs beyond them. */
  #feedSlots(feed: Feed, sequences: readonly StepSequence[], T: number, slots: SlotLayout): void {
    const { name, horizon, mixer, rowsPerGroup, firstLayer } = slots;
    const B = sequences.length;
    const C = mostSlots(sequences, slots);
    const buffers = this.#masks(name, B, T, C);
    const steps = sequences.map(({ state, tree, rule }) => ({
      slotPositions: padded(state.positions(slots), C),
      tree,
      committed: state.length,
      rule,
    }));
    steps.forEach((step, b) => {
      fillMasks(buffers, b, step, horizon);
    });
    for (const block of ['ring', 'tree'] as const) {
      const { rows, same, earlier, offsets } = buffers[block];
      feed(`same.${name}.${block}`, tensor('float32', [B, 1, T, rows], same));
      feed(`earlier.${name}.${block}`, tensor('float32', [B, 1, T, rows], earlier));
      feed(`lags.${name}.${block}`, tensor('int32', [B, T, rows], offsets));
    }
    for (const [input, value] of Object.entries(recurrentForm(mixer).inputs?.feeds(mixer, steps, T, C) ?? {})) {
      feed(slotInputName(input, name), value);
    }
    if (rowsPerGroup !== undefined) feed(`held.${name}`, heldRows(sequences, firstLayer));
  }

  #masks(name: string, B: number, T: number, C: number): MaskBuffers {
    const key = `${name} ${B} ${T}`;
    const known = this.#buffers.get(key);
    if (known?.ring.rows === C) return known;
    if (this.#buffers.size > keptBuffers) this.#buffers = new Map();
    const made = makeMaskBuffers(B, T, C);
    this.#buffers.set(key, made);
    return made;
  }

  /** Rows, sums and rows of closed groups of one layer. */
  #feedLayer(
    feed: Feed,
    sequences: readonly StepSequence[],
    layer: number,
    { lane, copiesFeeds }: FeedsReader,
    kept: Map<string, KeptMemory>,
  ): void {
    const { keyValueHeads: M } = this.#model.sizes;
    const { slots, sums, ...widths } = this.#layout.layers[layer];
    const states = sequences.map(({ state }) => state);
    const B = sequences.length;
    const C = mostSlots(sequences, slots);
    for (const part of ['keys', 'values'] as const) {
      const { width } = widths[part];
      const name = `${part}.${layer}`;
      const rows = { heads: M, slots: C, width, horizon: slots.horizon };
      const own = states.map(({ layers }) => layers[layer][part]);
      const { data, memory } = this.#rows.rows(`${name} ${lane}`, states, own, rows, copiesFeeds);
      feed(name, tensor('float32', [B, M, C, width], data));
      if (memory !== undefined) kept.set(name, memory);
      if (slots.rowsPerGroup === undefined) continue;
      const S = memorySize(sequences, layer);
      const closed = states.map((state) => state.groupRows[layer]?.padded(part, S) ?? new Float32Array(M * S * width));
      feed(`memory.${part}.${layer}`, tensor('float32', [B, M, S, width], joined(closed)));
    }
    if (sums !== undefined) {
      const name = `sums.${layer}`;
      const own = states.map((state) => state.layerSums(layer) ?? new Float32Array(0));
      const { data, memory } = this.#rows.sums(`${name} ${lane}`, states, own, copiesFeeds);
      feed(name, tensor('float32', [B, M, ...sums], data));
      if (memory !== undefined) kept.set(name, memory);
    }
  }

  /** The parents of all nodes, and what the layers are given from the last committed token. */
  #feedShifts(feed: Feed, sequences: readonly StepSequence[], T: number): void {
    const { shiftWidth: X = 0 } = this.#model.sizes;
    const B = sequences.length;
    const parents = Int32Array.from({ length: B * T }, (_, i) => i);
    const roots = new Float32Array(B * T).fill(1);
    sequences.forEach(({ tree }, b) => {
      for (let node = 0; node < tree.size; node++) {
        if (tree.parents[node] < 0) continue;
        parents[b * T + node] = b * T + tree.parents[node];
        roots[b * T + node] = 0;
      }
    });
    feed('parents', tensor('int32', [B, T], parents));
    feed('roots', tensor('float32', [B, T, 1], roots));
    this.#layout.layers.forEach((_, layer) => {
      const previous = joined(sequences.map(({ state }) => state.layers[layer].previous));
      feed(`previous.${layer}`, tensor('float32', [B, 1, X], previous));
    });
  }
}

/** C: slots of the longest ring or cache of a step. */
function mostSlots(sequences: readonly StepSequence[], slots: SlotLayout): number {
  return Math.max(...sequences.map(({ state }) => state.slotCount(slots)));
}

/** S: rows that the longest memory of a layer has room for; at least one, so that no tensor is empty. */
function memorySize(sequences: readonly StepSequence[], layer: number): number {
  return Math.max(1, ...sequences.map(({ state }) => state.groupRows[layer]?.capacity ?? 0));
}

/** `held.ℓ` [B,1,1,S]: which rows of closed groups are in use. @param layer one that has the layout */
function heldRows(sequences: readonly StepSequence[], layer: number): Tensor {
  const S = memorySize(sequences, layer);
  const held = new Float32Array(sequences.length * S);
  sequences.forEach(({ state }, b) => held.fill(1, b * S, b * S + (state.groupRows[layer]?.count ?? 0)));
  return tensor('float32', [sequences.length, 1, 1, S], held);
}

function padded(positions: Int32Array, count: number): Int32Array {
  if (positions.length === count) return positions;
  const result = new Int32Array(count).fill(-1);
  result.set(positions);
  return result;
}

/** Arrays end to end; a single one is not copied. */
function joined(arrays: readonly Float32Array[]): Float32Array {
  if (arrays.length === 1) return arrays[0];
  const result = new Float32Array(arrays.reduce((total, array) => total + array.length, 0));
  let offset = 0;
  for (const array of arrays) {
    result.set(array, offset);
    offset += array.length;
  }
  return result;
}
