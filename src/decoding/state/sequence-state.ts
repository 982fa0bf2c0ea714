/**
 * What a session remembers of its text: for a linearized model a constant number of floats, whatever the length; for
 * softmax layers a key-value cache that grows.
 *
 * Per layer: the ring, keys and values of the last C positions (slot = position mod C), and S, the sum of k̂ᵀv over the
 * groups that have closed; in layers of Linformer by blocks instead of S the rows that closed blocks were projected to, which
 * grow with the text. `commit` writes accepted rows into the ring and folds groups into S as they close. A model that
 * shifts features also remembers those of the last token.
 */
import { emptySlot } from '../../attention/masks.ts';
import type { MixerConfig } from '../../attention/mixer.ts';
import { LinnetError } from '../../errors.ts';
import type { CausalModel } from '../../models/model.ts';
import {
  foldName,
  layerSumsShape,
  type RowLayout,
  rowLayout,
  stateLayout,
  stateLayouts,
  type StateLayout,
} from '../../models/step-graph.ts';
import { ProjectedRows } from './projected-rows.ts';

/** Rows a growing cache is enlarged by at least; it also grows by a quarter, so that copies stay rare. */
const cacheGrowth = 256;

/** What one layer remembers beside S: M matrices of `slots` rows, and what it is given from the last token. */
export interface LayerRows {
  /** [M,slots,D] */
  keys: Float32Array;
  /** [M,slots,E] */
  values: Float32Array;
  /** [X]: features of the last token; empty in a model that shifts none. */
  readonly previous: Float32Array;
}

/** The slots of one layout, shared by its layers. */
export interface LayoutSlots {
  readonly layout: StateLayout;
  /** Position in each slot, −1 where it is empty. Its length is the number of slots. */
  positions: Int32Array;
}

/** Layers whose closed groups are folded in one run: same layout, same way of folding. */
export interface FoldClass {
  readonly layout: StateLayout;
  /** Names the fold graph; classes of different layouts may share it. */
  readonly program: string;
  /** Rows and columns of S per key-value head; null where closed groups become projected rows. */
  readonly sums: readonly [number, number] | null;
  readonly layers: readonly number[];
}

/** The fold classes of a model: its layers that keep sums, or projected rows, of closed groups. */
export function foldClasses(model: CausalModel): FoldClass[] {
  const classes = new Map<string, FoldClass & { layers: number[] }>();
  model.mixers.forEach((mixer, layer) => {
    const sums = layerSumsShape(model, mixer);
    const program = foldName(mixer, layer);
    if (program === undefined) return;
    const layout = stateLayout(mixer);
    const key = `${layout.name} ${program}`;
    const known = classes.get(key) ?? { layout, program, sums, layers: [] };
    known.layers.push(layer);
    classes.set(key, known);
  });
  return [...classes.values()];
}

/** The state of one sequence. Made by an engine; `fork` copies it. */
export class SequenceState {
  readonly model: CausalModel;
  /** L: committed tokens. */
  length = 0;
  readonly layers: LayerRows[];
  /** Widths of the layers' rows. */
  readonly rowLayout: RowLayout;
  readonly slots: ReadonlyMap<string, LayoutSlots>;
  readonly foldClasses: readonly FoldClass[];
  /** S per fold class: [layers,M,…its `sums`]. */
  readonly sums: Float32Array[];
  /** Per layer, the projected rows of closed blocks; undefined for a mixer without such. */
  readonly projected: (ProjectedRows | undefined)[];

  constructor(model: CausalModel) {
    const { keyValueHeads: M, shiftWidth = 0 } = model.sizes;
    this.model = model;
    this.rowLayout = rowLayout(model);
    this.slots = new Map(
      stateLayouts(model.mixers).map((layout) => [
        layout.name,
        { layout, positions: new Int32Array(layout.ring ?? cacheGrowth).fill(emptySlot) },
      ]),
    );
    this.layers = model.mixers.map((mixer, layer) => {
      const { keys, values } = this.rowLayout.layers[layer];
      const slots = M * this.layoutSlots(mixer).positions.length;
      return {
        keys: new Float32Array(slots * keys.width),
        values: new Float32Array(slots * values.width),
        previous: new Float32Array(shiftWidth),
      };
    });
    this.foldClasses = foldClasses(model);
    this.sums = this.foldClasses.map(({ layers, sums }) => {
      const [rows, columns] = sums ?? [0, 0];
      return new Float32Array(layers.length * M * rows * columns);
    });
    this.projected = model.mixers.map((mixer, layer) => {
      const { keys, values } = this.rowLayout.layers[layer];
      return stateLayout(mixer).projected === undefined ? undefined : new ProjectedRows(M, keys.width, values.width);
    });
  }

  /** The slots that a layer's rows lie in. */
  layoutSlots(mixer: MixerConfig): LayoutSlots {
    const found = this.slots.get(stateLayout(mixer).name);
    if (found === undefined) throw new LinnetError('INTERNAL', 'internal: a layer without slots');
    return found;
  }

  /** S of a layer [M,rows,columns], a view; undefined for a mixer without sums. */
  layerSums(layer: number): Float32Array | undefined {
    for (const [index, { layers, sums }] of this.foldClasses.entries()) {
      const place = sums === null ? -1 : layers.indexOf(layer);
      const size = this.sums[index].length / layers.length;
      if (place >= 0) return this.sums[index].subarray(place * size, (place + 1) * size);
    }
    return undefined;
  }

  /** Takes in what the fold graph of a class has made of its closed groups. */
  takeFolded(index: number, folded: Float32Array): void {
    const { layers, sums } = this.foldClasses[index];
    if (sums !== null) this.sums[index].set(folded);
    else this.projected[layers[0]]?.append(folded);
  }

  /** Makes room for `count` more positions in growing caches. */
  reserve(count: number): void {
    const { keyValueHeads: M } = this.model.sizes;
    for (const slots of this.slots.values()) {
      const held = slots.positions.length;
      if (slots.layout.ring !== undefined || this.length + count <= held) continue;
      const wanted = Math.max(this.length + count, Math.ceil(held * 1.25));
      const size = Math.ceil(wanted / cacheGrowth) * cacheGrowth;
      const positions = new Int32Array(size).fill(emptySlot);
      positions.set(slots.positions);
      slots.positions = positions;
      this.model.mixers.forEach((mixer, layer) => {
        if (this.layoutSlots(mixer) !== slots) return;
        const rows = this.layers[layer];
        const { keys, values } = this.rowLayout.layers[layer];
        rows.keys = growRows(rows.keys, M, held, size, keys.width);
        rows.values = growRows(rows.values, M, held, size, values.width);
      });
    }
  }

  /** Makes the rows that a text of `length` tokens leaves projected, zeros until they are filled in. */
  makeProjected(length: number): void {
    this.model.mixers.forEach((mixer, layer) => {
      const { group, projected = 0 } = stateLayout(mixer);
      this.projected[layer]?.make(projected * Math.floor(length / group));
    });
  }

  /**
   * Bytes of the numbers held: rows, S, projected rows and shifted features. Constant for linearized models, Linformer's
   * apart.
   */
  get bytes(): number {
    const arrays = this.layers.flatMap(({ keys, values, previous }) => [keys, values, previous]);
    const memories = this.projected.flatMap((memory) => memory ?? []);
    return [...arrays, ...this.sums, ...memories].reduce((total, { byteLength }) => total + byteLength, 0);
  }

  /** An independent copy: two continuations of one text. */
  fork(): SequenceState {
    const copy = new SequenceState(this.model);
    copy.length = this.length;
    for (const [name, slots] of this.slots) {
      const target = copy.slots.get(name);
      if (target !== undefined) target.positions = slots.positions.slice();
    }
    this.layers.forEach(({ keys, values, previous }, layer) => {
      copy.layers[layer] = { keys: keys.slice(), values: values.slice(), previous: previous.slice() };
    });
    this.sums.forEach((sums, index) => {
      copy.sums[index].set(sums);
    });
    this.projected.forEach((memory, layer) => {
      copy.projected[layer] = memory?.fork();
    });
    return copy;
  }
}

function growRows(rows: Float32Array, M: number, held: number, size: number, D: number): Float32Array {
  const grown = new Float32Array(M * size * D);
  for (let head = 0; head < M; head++)
    grown.set(rows.subarray(head * held * D, (head + 1) * held * D), head * size * D);
  return grown;
}
