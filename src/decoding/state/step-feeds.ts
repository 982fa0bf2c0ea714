/** Feeds the step graph's inputs (see its table) from nodes, states and trees. */
import {
  fillMasks,
  makeMaskBuffers,
  type MaskBuffers,
  openBlock,
  type SequenceStep,
  type TreeView,
} from '../../attention/masks.ts';
import { LinnetError } from '../../errors.ts';
import { elementCount, float32, int32, type Tensor, tensor } from '../../graph/tensor.ts';
import type { AutoregressiveModel, CrossAttention } from '../../models/model.ts';
import { leastColumns, type ModelLayout, type SlotLayout, stretch } from '../../models/graphs/model-layout.ts';
import { beforeInput } from '../../models/graphs/mtp-graph.ts';
import {
  crossShapes,
  finalName,
  onesInputName,
  openInputName,
  productRowNames,
  slotInputName,
} from '../../models/graphs/step-graph.ts';
import type { KeptMemory } from '../../runtime/kept-memory.ts';
import type { Program } from '../../runtime/program.ts';
import { copyMatrices } from './matrices.ts';
import { BatchRows, matricesOf, type OpenOfStates, openRowsOf, type RowsOfSlots } from './batch-rows.ts';
import type { EncodedText, SequenceState } from './sequence-state.ts';

/** One sequence's part in a step. */
export interface StepRequest extends TreeView {
  /** The text so far. Read-only; `commit` changes it. */
  readonly state: SequenceState;
  /** Each node's token; node a is at position `state.length` + its depth. */
  readonly tokens: ArrayLike<number>;
  /** Nodes whose logits are wanted. */
  readonly wanted: readonly number[];
  /** Whether `commit` will take all nodes, a chunk of a text: rows that states do not keep are then not returned. */
  readonly isText?: boolean;
  /** Hidden states [width] that chose the tokens, for a layer of multi-token prediction; others do not read them. */
  readonly before?: readonly Float32Array[];
}

/** A step's feeds, and the memory of those that persist from step to step. */
export interface StepInputs {
  readonly feeds: Record<string, Tensor>;
  readonly kept: Map<string, KeptMemory>;
}

/** Masks for one layout and step size, over reused buffers. */
interface MaskFeeds {
  readonly buffers: MaskBuffers;
  readonly feeds: readonly (readonly [name: string, value: Tensor])[];
}

/** The graph's inputs for a layer's state. */
interface LayerInputs {
  /** Those listed by number have no batch. */
  readonly rows: readonly (RowsOfSlots & { readonly isListed: boolean })[];
  readonly sums: { readonly name: string; readonly shape: readonly [rows: number, columns: number] } | undefined;
}

/** Number of shapes whose mask buffers are kept. */
const keptBuffers = 16;

/** Rows of products that are mixed, and each product row's mixed row: the last one for spare rows. */
function productRowFeeds(T: number, P: number): Record<string, Tensor> {
  const rows = (count: number): Tensor =>
    tensor(
      'int32',
      [count],
      Int32Array.from({ length: count }, (_, row) => Math.min(row, T - 1)),
    );
  return { [productRowNames.mixed]: rows(T), [productRowNames.products]: rows(P) };
}

/**
 * Makes feeds for one program's steps in reused buffers: a step's feeds must be read before the next are made. Omits inputs
 * that the graph lacks: a local mixer's offsets, a softmax mixer's earlier groups.
 */
export class StepFeeds {
  readonly #model: AutoregressiveModel;
  readonly #layout: ModelLayout;
  readonly #program: Program;
  /** The previous step's encoded texts, and their feeds, kept while the texts stay the same: making them copies. */
  #texts: readonly EncodedText[] = [];
  #textFeeds: Record<string, Tensor> = {};
  readonly #rows: BatchRows;
  readonly #layers: readonly LayerInputs[];
  /** Layout and M of each input for open rows. */
  readonly #openInputs = new Map<string, readonly [layout: string, M: number]>();
  #masks = new Map<string, MaskFeeds>();

  /** @param lane separates the buffers of steps that alternate with others, such as prompts read between rounds */
  constructor(model: AutoregressiveModel, layout: ModelLayout, program: Program, lane: string) {
    this.#model = model;
    this.#layout = layout;
    this.#program = program;
    this.#rows = new BatchRows(lane);
    this.#layers = layout.layers.map(({ slots: { horizon }, heads, sums = [0, 0], ...widths }, layer) => ({
      rows: parts.flatMap((part) => {
        const name = `${part}.${layer}`;
        const shape = program.inputs.get(name)?.shape;
        return shape === undefined
          ? []
          : [{ ...matricesOf(heads, widths[part]), name, layer, part, horizon, isListed: shape.length === 2 }];
      }),
      sums: [{ name: `sums.${layer}`, shape: sums }].find(({ name }) => program.inputs.has(name)),
    }));
    for (const { slots, heads, values } of layout.layers) {
      for (const count of [heads, heads * values.parts]) {
        const input = openInputName(slots.name, count);
        if (program.inputs.has(input)) this.#openInputs.set(input, [slots.name, count]);
      }
    }
  }

  /** The requests' indices in the order that suits a step best. */
  arrange(requests: readonly StepRequest[]): readonly number[] {
    return this.#rows.arrange(requests.map(({ state }) => state));
  }

  /**
   * @param T nodes of the largest tree, or more: trees are padded with nodes that nothing reads
   * @param P product rows per tree: T, or more if the graph counts them separately. `inPairs` makes the number of wanted
   *   nodes even
   * @throws LinnetError `INPUT` for tokens outside the vocabulary, nodes that do not exist, positions beyond the model's,
   *   or a state without an encoded text if the model reads one
   */
  feeds(requests: readonly StepRequest[], T: number, P = T, inPairs = false, final = 0): StepInputs {
    const feeds = this.#nodeFeeds(requests, P, inPairs);
    if (this.#program.inputs.has(finalName)) {
      const nodes = Array.from({ length: final }, (_, i) => T - final + i);
      feeds[finalName] = int32([final], nodes);
    }
    if (this.#program.inputs.has(productRowNames.mixed)) Object.assign(feeds, productRowFeeds(T, P));
    const kept = new Map<string, KeptMemory>();
    const states: SequenceState[] = [];
    for (const { state } of requests) states.push(state);
    for (const slots of this.#layout.slotLayouts) {
      let C = 0;
      for (const state of states) C = Math.max(C, state.positions[slots.index].length);
      this.#feedMasks(feeds, requests, states, T, slots, C);
      const ofSums = slots.inputs?.sumsOf?.(requests).map((sequence) => states[sequence]) ?? states;
      for (const layer of slots.layers) this.#feedLayer({ feeds, kept }, states, ofSums, layer, C);
      if (slots.rowsPerGroup !== undefined) this.#feedGroupRows(feeds, states, slots);
    }
    if (this.#model.cross !== undefined) Object.assign(feeds, this.#feedsOfTexts(this.#model.cross, states));
    if ((this.#model.sizes.shiftWidth ?? 0) > 0) this.#feedShifts(feeds, requests, T);
    return { feeds, kept };
  }

  #nodeFeeds(requests: readonly StepRequest[], T: number, inPairs: boolean): Record<string, Tensor> {
    const { vocabulary } = this.#model.sizes;
    const B = requests.length;
    const tokens = new Int32Array(B * T);
    const positions = new Float64Array(B * T);
    const wanted: number[] = [];
    for (const [b, { state, tree, tokens: nodeTokens, wanted: nodes }] of requests.entries()) {
      if (nodeTokens.length !== tree.size) {
        throw new LinnetError('INPUT', `a tree of ${tree.size} nodes needs as many tokens, got ${nodeTokens.length}`);
      }
      for (let node = 0; node < tree.size; node++) {
        const token = nodeTokens[node];
        if (!(Number.isInteger(token) && token >= 0 && token < vocabulary)) {
          throw new LinnetError('INPUT', `token ${token} is outside the vocabulary of ${vocabulary}`);
        }
        tokens[b * T + node] = token;
        positions[b * T + node] = state.length + tree.depths[node];
      }
      for (const node of nodes) {
        if (!(Number.isInteger(node) && node >= 0 && node < tree.size))
          throw new LinnetError('INPUT', `node ${node} is not in a tree of ${tree.size}`);
        wanted.push(b * T + node);
      }
    }
    if (inPairs && wanted.length % 2 === 1) wanted.push(wanted[0]);
    const feeds = this.#model.positions.at(positions, B, T);
    feeds.tokens = tensor('int32', [B, T], tokens);
    feeds.wanted = tensor('int32', [wanted.length], Int32Array.from(wanted));
    if (this.#program.inputs.has(beforeInput)) feeds[beforeInput] = this.#statesBefore(requests, T);
    return feeds;
  }

  /** @throws LinnetError `INPUT` unless every node has a hidden state of the model's width */
  #statesBefore(requests: readonly StepRequest[], T: number): Tensor {
    const { width } = this.#model.sizes;
    const data = new Float32Array(requests.length * T * width);
    for (const [b, { tree, before = [] }] of requests.entries()) {
      if (before.length !== tree.size || before.some((state) => state.length !== width)) {
        throw new LinnetError('INPUT', `a tree of ${tree.size} nodes needs as many hidden states of width ${width}`);
      }
      before.forEach((state, node) => data.set(state, (b * T + node) * width));
    }
    return tensor('float32', [requests.length, T, width], data);
  }

  /** Masks and offsets for a layout, and further inputs of its mixer kind. @param C slots of the longest ring or cache */
  #feedMasks(
    feeds: Record<string, Tensor>,
    requests: readonly StepRequest[],
    states: readonly SequenceState[],
    T: number,
    slots: SlotLayout,
    C: number,
  ): void {
    const { name, horizon, inputs } = slots;
    const open = openRowsOf(states, slots, T);
    // If all rows are open, the ring has no masks.
    const inRing = slots.open === 'whole' ? 0 : C;
    const masks = this.#masksOf(name, requests.length, T, inRing, open?.count ?? 0);
    const steps: SequenceStep[] = [];
    for (const [b, { state, tree, rule }] of requests.entries()) {
      const held = inRing === 0 ? noPositions : state.positions[slots.index];
      const slotPositions = held.length === inRing ? held : padded(held, inRing);
      const { length: committed, ahead } = state;
      const step = { slotPositions, tree, rule, committed, ahead, open: open?.ofStates[b] };
      fillMasks(masks.buffers, b, step, horizon);
      steps.push(step);
    }
    if (open !== undefined) this.#feedOpenRows(feeds, slots, open, C);
    for (const [input, value] of masks.feeds) feeds[input] = value;
    for (const [input, value] of Object.entries(inputs?.feeds(steps, T, inRing) ?? {})) {
      this.#feed(feeds, slotInputName(input, name), value);
    }
  }

  #feed(feeds: Record<string, Tensor>, name: string, value: Tensor): void {
    if (this.#program.inputs.has(name)) feeds[name] = value;
  }

  /** `open.ℓ.M` for each M among a layout's layers. */
  #feedOpenRows(feeds: Record<string, Tensor>, layout: SlotLayout, { count, ofStates }: OpenOfStates, C: number): void {
    for (const [input, [name, M]] of this.#openInputs) {
      if (name !== layout.name) continue;
      const rows = new Int32Array(ofStates.length * M * count);
      for (const [b, { slots }] of ofStates.entries()) {
        for (let matrix = b * M; matrix < (b + 1) * M; matrix++) {
          for (let i = 0; i < count; i++) rows[matrix * count + i] = matrix * C + slots[i];
        }
      }
      feeds[input] = tensor('int32', [ofStates.length, M, count], rows);
    }
  }

  #masksOf(name: string, B: number, T: number, C: number, open: number): MaskFeeds {
    const key = `${name} ${B} ${T} ${open}`;
    const known = this.#masks.get(key);
    if (known?.buffers.ring.rows === C) return known;
    if (this.#masks.size > keptBuffers) this.#masks = new Map();
    const buffers = makeMaskBuffers(B, T, C, open);
    const feeds: (readonly [name: string, value: Tensor])[] = (['ring', 'tree'] as const).flatMap((block) => {
      const { rows, same, earlier, offsets } = buffers[block];
      return [
        [`same.${name}.${block}`, tensor('float32', [B, 1, T, rows], same)] as const,
        [`earlier.${name}.${block}`, tensor('float32', [B, 1, T, rows], earlier)] as const,
        [`lags.${name}.${block}`, tensor('int32', [B, T, rows], offsets)] as const,
      ].filter(([input]) => this.#program.inputs.has(input));
    });
    const ones = onesInputName(name);
    const lanes = Number(this.#program.inputs.get(ones)?.shape.at(-1) ?? 0);
    if (lanes > 0) {
      const rows = open + T;
      feeds.push([ones, float32([1, 1, rows, lanes], new Float32Array(rows * lanes).fill(1))]);
    }
    const made = { buffers, feeds };
    this.#masks.set(key, made);
    return made;
  }

  /** @param ofSums each S's state */
  #feedLayer(
    { feeds, kept }: StepInputs,
    states: readonly SequenceState[],
    ofSums: readonly SequenceState[],
    layer: number,
    C: number,
  ): void {
    const { heads: M } = this.#layout.layers[layer];
    const { copiesFeeds } = this.#program;
    const B = states.length;
    const { rows, sums } = this.#layers[layer];
    for (const part of rows) {
      const { data, memory } = this.#rows.rows(part, states, C, copiesFeeds);
      const shape = part.isListed ? [B * part.heads * C, part.width] : [B, part.heads, C, part.width];
      feeds[part.name] = tensor('float32', shape, data);
      if (memory !== undefined) kept.set(part.name, memory);
    }
    if (sums === undefined) return;
    const { data, memory } = this.#rows.sums(sums.name, ofSums, layer, copiesFeeds);
    feeds[sums.name] = tensor('float32', [ofSums.length, M, ...sums.shape], data);
    if (memory !== undefined) kept.set(sums.name, memory);
  }

  /** Rows that closed groups left in a layout's layers, each layer's S, and which rows are in use. */
  #feedGroupRows(
    feeds: Record<string, Tensor>,
    states: readonly SequenceState[],
    { name, layers, isWide }: SlotLayout,
  ): void {
    const B = states.length;
    for (const [index, layer] of layers.entries()) {
      const memories = states.map(({ groupRows }) => groupRows[layer]);
      // At least one row, so that no tensor is empty.
      const S = Math.max(isWide ? leastColumns : 1, ...memories.map((memory) => memory?.capacity ?? 0));
      for (const part of parts) {
        const { heads: M, [part]: slice } = this.#layout.layers[layer];
        const { width } = slice;
        const closed = memories.map((memory) => memory?.padded(part, S) ?? new Float32Array(M * S * width));
        this.#feed(feeds, `memory.${part}.${layer}`, tensor('float32', [B, M, S, width], joined(closed)));
      }
      if (index > 0) continue;
      const held = new Float32Array(B * S);
      for (const [b, memory] of memories.entries()) held.fill(1, b * S, b * S + (memory?.count ?? 0));
      this.#feed(feeds, `held.${name}`, tensor('float32', [B, 1, 1, S], held));
    }
  }

  /**
   * `cross.i.NAME` for a step's texts, padded with zeros ("not visible") to whole blocks, so that no sum over them depends
   * on neighboring texts.
   */
  #feedsOfTexts(cross: CrossAttention, states: readonly SequenceState[]): Record<string, Tensor> {
    const texts = states.map(({ encoded }) => {
      if (encoded !== undefined) return encoded;
      throw new LinnetError('INPUT', 'a decoder needs a text to read: encode one, and make the state with it');
    });
    if (texts.length === this.#texts.length && texts.every((text, b) => text === this.#texts[b]))
      return this.#textFeeds;
    this.#texts = texts;
    this.#textFeeds = {};
    for (const layer of cross.mixers.keys()) {
      for (const [name, shape] of Object.entries(crossShapes(cross, this.#model, layer))) {
        const parts = texts.map((text) => text.layers[layer][name]);
        this.#textFeeds[`cross.${layer}.${name}`] = stacked(parts, shape.indexOf('m'), this.#model.sizes.headWidth);
      }
    }
    return this.#textFeeds;
  }

  /** All nodes' parents, and the features that layers shift from the last committed token. */
  #feedShifts(feeds: Record<string, Tensor>, requests: readonly StepRequest[], T: number): void {
    const { shiftWidth: X = 0 } = this.#model.sizes;
    const B = requests.length;
    const parents = Int32Array.from({ length: B * T }, (_, i) => i);
    const roots = new Float32Array(B * T).fill(1);
    for (const [b, { tree }] of requests.entries()) {
      for (let node = 0; node < tree.size; node++) {
        if (tree.parents[node] < 0) continue;
        parents[b * T + node] = b * T + tree.parents[node];
        roots[b * T + node] = 0;
      }
    }
    this.#feed(feeds, 'parents', tensor('int32', [B, T], parents));
    this.#feed(feeds, 'roots', tensor('float32', [B, T, 1], roots));
    for (const layer of this.#layout.layers.keys()) {
      const previous = joined(requests.map(({ state }) => state.layers[layer].previous));
      this.#feed(feeds, `previous.${layer}`, tensor('float32', [B, 1, X], previous));
    }
  }
}

const parts = ['keys', 'values'] as const;
const noPositions = new Int32Array(0);

/** Slot positions, padded with empty slots to `count`. */
function padded(positions: Int32Array, count: number): Int32Array {
  const result = new Int32Array(count).fill(-1);
  result.set(positions);
  return result;
}

/** Joins arrays end to end; does not copy a single one. */
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

/**
 * Stacks tensors of one rank along a new batch axis, padded with zeros at the end of `axis`; −1 for none. @param D numbers
 * in a score
 */
function stacked(parts: readonly Tensor<'float32'>[], axis: number, D: number): Tensor<'float32'> {
  const [{ shape }] = parts;
  const most = axis < 0 ? 1 : Math.max(D > stretch ? leastColumns : 1, ...parts.map((part) => part.shape[axis]));
  const longest = Math.ceil(most / openBlock) * openBlock;
  const one = shape.map((size, i) => (i === axis ? longest : size));
  const size = elementCount(one);
  const joined = new Float32Array(parts.length * size);
  parts.forEach((part, b) => {
    const outer = elementCount(one.slice(0, Math.max(axis, 0)));
    copyMatrices(part.data, joined.subarray(b * size, (b + 1) * size), outer);
  });
  return float32([parts.length, ...one], joined);
}
