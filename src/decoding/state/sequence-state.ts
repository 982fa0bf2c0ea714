/**
 * One sequence's state: for a linearized model a constant number of floats, whatever the length; for softmax layers a
 * growing key-value cache.
 *
 * Per layer: the ring, keys and values of the last C positions (slot = position mod C), and S, the sums over closed groups;
 * if closed groups leave rows, those instead, which grow with the text. `commit` writes accepted rows into the ring and
 * folds groups as they close. A model that shifts features also keeps the last token's, and a decoder the encoded source,
 * which it only reads and shares with its forks.
 */
import { inspection } from '../../files/inspection.ts';
import { emptySlot, foldStart } from '../../attention/masks.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { AutoregressiveModel } from '../../models/model.ts';
import type { LayerLayout, ModelLayout } from '../../models/graphs/model-layout.ts';
import { release } from '../../runtime/release.ts';
import { resizedMatrices } from './matrices.ts';

/** Least rows by which a cache grows; it also grows by an eighth: copies stay rare, and steps read few empty rows. */
const cacheGrowth = 64;

/** An encoded source, from an engine's `encode`; the text's states and all their forks share it, and nothing changes it. */
export interface EncodedText {
  /** The tokens read. */
  readonly tokens: Int32Array;
  /** Per decoder layer, tensors by name, without the batch: see `CrossForm`. */
  readonly layers: readonly Readonly<Record<string, Tensor<'float32'>>>[];
}

/** One layer's state without S: M matrices of `slots` rows, and the features shifted from the last token. */
export interface LayerRows {
  /** [M,slots,D] */
  keys: Float32Array;
  /** [M,slots,E] */
  values: Float32Array;
  /** [X]: the last token's features; empty in a model that shifts none. */
  readonly previous: Float32Array;
}

/** One sequence's state, made by an engine; `fork` copies it. */
export class SequenceState {
  readonly model: AutoregressiveModel;
  readonly layout: ModelLayout;
  /** L: committed tokens. */
  length = 0;
  /** How often the S that steps read has changed: tells holders of a copy whether it is current. */
  folds = 0;
  /** Whether a text is being generated with it: two at once would corrupt each other. */
  isInUse = false;
  readonly layers: LayerRows[] = [];
  /**
   * Position in each slot of each slot layout, −1 for empty. The number of slots is C: constant, or growing with the text
   * if every row is kept.
   */
  readonly positions: Int32Array[] = [];
  /** S per layer [M,rows,columns], which forks share and never change; undefined for a mixer without. */
  readonly layerSums: (Float32Array | undefined)[] = [];
  #sharesSums = false;
  /** Positions in the S that steps read, if more than the folded ones; never saved. */
  ahead = 0;
  /** S after `ahead` positions, by layer; old numbers if `ahead` is 0. */
  readonly #sumsAhead: Float32Array[] = [];
  /** Per layer, the rows that closed groups left; undefined for a mixer without. */
  readonly groupRows: (GroupRows | undefined)[] = [];
  /** The encoded source, in models with an encoder. */
  readonly encoded: EncodedText | undefined;

  constructor(model: AutoregressiveModel, layout: ModelLayout, encoded?: EncodedText) {
    const { shiftWidth = 0 } = model.sizes;
    this.model = model;
    this.layout = layout;
    this.encoded = encoded;
    for (const { isWide, ring = (isWide ? 2 : 1) * cacheGrowth } of layout.slotLayouts) {
      this.positions.push(new Int32Array(ring).fill(emptySlot));
    }
    for (const own of layout.layers) {
      const { slots, heads: M, keys, values, sums } = own;
      const rows = M * this.positions[slots.index].length;
      this.layers.push({
        keys: new Float32Array(rows * keys.width),
        values: new Float32Array(rows * values.width),
        previous: new Float32Array(shiftWidth),
      });
      this.layerSums.push(sums && new Float32Array(M * sums[0] * sums[1]));
      this.groupRows.push(slots.rowsPerGroup === undefined ? undefined : new GroupRows(own));
    }
  }

  /** Stores a class's fold output for its closed groups. */
  takeFolded(index: number, folded: Float32Array): void {
    const { layers, sums } = this.layout.folds[index];
    this.dropAhead();
    if (sums === null) {
      this.groupRows[layers[0]]?.append(folded);
      return;
    }
    const spent = this.#sharesSums ? [] : layers.flatMap((layer) => this.layerSums[layer] ?? []);
    const size = folded.length / layers.length;
    for (const [place, layer] of layers.entries())
      this.layerSums[layer] = folded.subarray(place * size, (place + 1) * size);
    if (this.layout.folds.length === 1) this.#sharesSums = false;
    release(spent);
  }

  /** Stores S for all layers that have it, by layer. */
  takeSums(sums: ReadonlyMap<number, Float32Array>): void {
    if (this.#sharesSums) this.layerSums.fill(undefined);
    this.#sharesSums = false;
    this.#take(sums, this.layerSums, 0);
  }

  /** Stores S after `length` positions, between folds: steps read on from it, with the same bits, until the next fold. */
  readAhead(length: number, sums: ReadonlyMap<number, Float32Array>): void {
    this.#take(sums, this.#sumsAhead, length);
  }

  /** Forgets S between folds: a resting text would hold it in vain. */
  dropAhead(): void {
    this.folds++;
    this.ahead = 0;
    this.#sumsAhead.length = 0;
  }

  /** Copies a part of a larger array, which would keep all its memory alive. */
  #take(sums: ReadonlyMap<number, Float32Array>, into: (Float32Array | undefined)[], ahead: number): void {
    this.folds++;
    this.ahead = ahead;
    const spent: Float32Array[] = [];
    for (const [layer, numbers] of sums) {
      const own = into[layer];
      if (numbers.byteLength === numbers.buffer.byteLength) {
        if (own !== undefined) spent.push(own);
        into[layer] = numbers;
      } else if (own === undefined) into[layer] = numbers.slice();
      else own.set(numbers); // new memory costs four times as much
    }
    release(spent);
  }

  /** The S of a layer [M,rows,columns] that steps read; empty without one. */
  sums(layer: number): Float32Array {
    return (this.ahead > 0 ? this.#sumsAhead : this.layerSums)[layer] ?? new Float32Array(0);
  }

  /** Keeps the arrays of S intact for a reader. */
  keepSums(): void {
    this.#sharesSums = true;
  }

  /**
   * Makes room for `count` more positions in growing caches.
   * @param soon positions to make room for in caches that must grow now. Default: `count`
   */
  reserve(count: number, soon = count): void {
    for (const slots of this.layout.slotLayouts) {
      const positions = this.positions[slots.index];
      const held = positions.length;
      if (slots.ring !== undefined || this.length + count <= held) continue;
      const wanted = Math.max(this.length + soon, Math.ceil(held * 1.125));
      const size = Math.ceil(wanted / cacheGrowth) * cacheGrowth;
      const grown = new Int32Array(size).fill(emptySlot);
      grown.set(positions);
      this.positions[slots.index] = grown;
      for (const layer of slots.layers) {
        const { heads: M, keys, values } = this.layout.layers[layer];
        const rows = this.layers[layer];
        rows.keys = resizedMatrices(rows.keys, M, M * size * keys.width);
        rows.values = resizedMatrices(rows.values, M * values.parts, M * size * values.width);
      }
    }
  }

  /** Makes rows for the closed groups of a text of `length` tokens, zeros until filled in. */
  makeGroupRows(length: number): void {
    this.layout.layers.forEach(({ slots: { horizon, rowsPerGroup = 0 } }, layer) => {
      this.groupRows[layer]?.make((rowsPerGroup * foldStart(length, horizon)) / horizon.group);
    });
  }

  /**
   * Bytes of the numbers held: rows, S and shifted features. Constant for linearized models, unless closed groups leave
   * rows. The encoded source is counted separately (`sourceBytes`), since forks share it.
   */
  get bytes(): number {
    let bytes = 0;
    for (const { keys, values, previous } of this.layers) {
      bytes += keys.byteLength + values.byteLength + previous.byteLength;
    }
    for (const numbers of [...this.layerSums, ...this.groupRows]) bytes += numbers?.byteLength ?? 0;
    return bytes;
  }

  /** Bytes of the encoded source, which forks share; 0 without one. */
  get sourceBytes(): number {
    const tensors = (this.encoded?.layers ?? []).flatMap((layer) => Object.values(layer));
    return tensors.reduce((sum, { data }) => sum + data.byteLength, 0);
  }

  /** An independent copy: two continuations of one text. */
  fork(): SequenceState {
    const copy = new SequenceState(this.model, this.layout, this.encoded);
    copy.length = this.length;
    for (const [index, positions] of this.positions.entries()) copy.positions[index] = positions.slice();
    for (const [layer, { keys, values, previous }] of this.layers.entries()) {
      copy.layers[layer] = { keys: keys.slice(), values: values.slice(), previous: previous.slice() };
      copy.groupRows[layer] = this.groupRows[layer]?.fork();
    }
    Object.assign(copy.layerSums, this.layerSums);
    copy.#sharesSums = this.#sharesSums = true;
    return copy;
  }

  /** For `console.log`. */
  [inspection](): string {
    return `SequenceState { length: ${this.length}, bytes: ${this.bytes} }`;
  }
}

/** Least rows by which a memory grows; it also grows by a quarter, so that copies stay rare. */
const growth = 64;

/** M matrices of `count` key rows and value rows, with room for more. */
export class GroupRows {
  /** Rows in use per matrix. */
  count = 0;
  /** [M,capacity,D] */
  keys: Float32Array = new Float32Array(0);
  /** [M,capacity,E] */
  values: Float32Array = new Float32Array(0);
  readonly #layout: LayerLayout;

  constructor(layout: LayerLayout) {
    this.#layout = layout;
  }

  /** Rows per matrix that fit. */
  get capacity(): number {
    const { heads, keys } = this.#layout;
    return this.keys.length / (heads * keys.width);
  }

  get byteLength(): number {
    return this.keys.byteLength + this.values.byteLength;
  }

  /** Makes room for `count` rows in total. */
  reserve(count: number): void {
    const held = this.capacity;
    if (count <= held) return;
    const size = Math.ceil(Math.max(count, held * 1.25) / growth) * growth;
    this.keys = this.padded('keys', size);
    this.values = this.padded('values', size);
  }

  /** Replaces all rows by `count` rows of zeros. */
  make(count: number): void {
    this.keys = new Float32Array(0);
    this.values = new Float32Array(0);
    this.reserve(count);
    this.count = count;
  }

  /** @param rows [M,n,D+E]: each new row's key and value side by side */
  append(rows: Float32Array): void {
    const { heads: M, keys, values } = this.#layout;
    const [D, E] = [keys.width, values.width];
    const n = rows.length / (M * (D + E));
    this.reserve(this.count + n);
    for (let head = 0; head < M; head++) {
      for (let row = 0; row < n; row++) {
        const start = (head * n + row) * (D + E);
        const place = head * this.capacity + this.count + row;
        this.keys.set(rows.subarray(start, start + D), place * D);
        this.values.set(rows.subarray(start + D, start + D + E), place * E);
      }
    }
    this.count += n;
  }

  /** The used rows followed by zeros, [M,size,width]; the array itself if it has that size. */
  padded(part: 'keys' | 'values', size: number): Float32Array {
    const { heads, [part]: slice } = this.#layout;
    return resizedMatrices(this[part], heads, heads * size * slice.width);
  }

  /** An independent copy. */
  fork(): GroupRows {
    const { count, keys, values } = this;
    return Object.assign(new GroupRows(this.#layout), { count, keys: keys.slice(), values: values.slice() });
  }
}
