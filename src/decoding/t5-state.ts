/**
 * What T5 remembers while it writes: the memory of every text that is read, and the state of every hypothesis of what is
 * written. All hypotheses are of the same length. W hypotheses in a row belong to one text.
 */
import type { CrossMemory } from '../attention/cross.ts';
import { LinnetError } from '../errors.ts';
import { elementCount, float32, type Tensor, tensor } from '../graph/tensor.ts';
import type { T5Config } from '../models/t5/config.ts';
import { decoderSums, memoryTensors } from '../models/t5/step-graph.ts';
import { stateLayout } from '../models/step-graph.ts';
import { ProjectedRows, takenRows } from './state/projected-rows.ts';

/**
 * Rows [B,H,C,D] of a layer, and its sums [B,H,X,Y] or projected rows. The row of position p is in slot p, of a ring in
 * slot p mod C.
 */
export interface T5LayerState {
  keys: Float32Array;
  values: Float32Array;
  sums: Float32Array | undefined;
  /** B·H matrices, of Linformer by blocks: the rows of closed blocks, which grow with what is written. */
  projected: ProjectedRows | undefined;
  /** C. */
  slots: number;
}

/** Slots that a growing layer starts with; doubled whenever they are full. */
const firstSlots = 16;

/** Memories of S texts: per layer of the decoder, tensors whose first axis is the text. */
export type TextMemory = readonly Readonly<Partial<Record<keyof CrossMemory, Tensor<'float32'>>>>[];

/** The hypotheses of S texts, W of each. */
export class T5State {
  readonly config: T5Config;
  /** W. */
  readonly beams: number;
  /** S. */
  texts: number;
  memory: TextMemory;
  readonly layers: readonly T5LayerState[];
  /** Tokens read by each hypothesis, the start token included. */
  length = 0;

  constructor(config: T5Config, memory: TextMemory, texts: number, beams: number) {
    this.config = config;
    this.memory = memory;
    this.texts = texts;
    this.beams = beams;
    const { heads: H, headWidth: D } = config;
    this.layers = config.mixers.decoder.map((mixer) => {
      const { ring: slots = firstSlots, projected } = stateLayout(mixer);
      const sums = decoderSums(config, mixer);
      return {
        slots,
        keys: new Float32Array(this.hypotheses * H * slots * D),
        values: new Float32Array(this.hypotheses * H * slots * D),
        sums: sums === null ? undefined : new Float32Array(this.hypotheses * H * sums[0] * sums[1]),
        projected: projected === undefined ? undefined : new ProjectedRows(this.hypotheses * H, D, D),
      };
    });
  }

  /** B = S·W. */
  get hypotheses(): number {
    return this.texts * this.beams;
  }

  /** Bytes of the numbers held. */
  get bytes(): number {
    let total = 0;
    for (const { keys, values, sums, projected } of this.layers)
      total += keys.byteLength + values.byteLength + (sums?.byteLength ?? 0) + (projected?.byteLength ?? 0);
    for (const tensors of this.memory) for (const { data } of Object.values(tensors)) total += data.byteLength;
    return total;
  }

  /** Makes room for the row of the next position in layers that grow. */
  grow(): void {
    const { heads: H, headWidth: D, mixers } = this.config;
    this.layers.forEach((layer, i) => {
      if (stateLayout(mixers.decoder[i]).ring !== undefined || this.length < layer.slots) return;
      const widened = (rows: Float32Array): Float32Array => {
        const result = new Float32Array(rows.length * 2);
        const held = layer.slots * D;
        for (let head = 0; head < this.hypotheses * H; head++) {
          result.set(rows.subarray(head * held, (head + 1) * held), head * held * 2);
        }
        return result;
      };
      layer.keys = widened(layer.keys);
      layer.values = widened(layer.values);
      layer.slots *= 2;
    });
  }

  /**
   * Continues other hypotheses: hypothesis b of the result is `hypotheses[b]` of before, and text s is `texts[s]`. Texts
   * that are not named are forgotten. Copies nothing where nothing moves.
   * @throws LinnetError `INPUT` for a hypothesis of another text, or one that does not exist
   */
  select(texts: readonly number[], hypotheses: readonly number[]): void {
    const W = this.beams;
    const fits =
      hypotheses.length === texts.length * W &&
      texts.every((text) => Number.isInteger(text) && text >= 0 && text < this.texts) &&
      hypotheses.every((from, b) => Number.isInteger(from) && Math.floor(from / W) === texts[Math.floor(b / W)]);
    if (!fits) {
      throw new LinnetError(
        'INPUT',
        `hypotheses ${hypotheses.join(',')} are not ${W} of each of the texts ${texts.join(',')} of ${this.texts}`,
      );
    }
    const stays = texts.length === this.texts && texts.every((text, s) => text === s);
    if (!stays) this.memory = this.memory.map((tensors) => mapTensors(tensors, (value) => taken(value, texts)));
    if (stays && hypotheses.every((from, b) => from === b)) return;
    const before = this.hypotheses;
    for (const layer of this.layers) {
      layer.keys = takenRows(layer.keys, before, hypotheses);
      layer.values = takenRows(layer.values, before, hypotheses);
      if (layer.sums !== undefined) layer.sums = takenRows(layer.sums, before, hypotheses);
      layer.projected = layer.projected?.select(before, hypotheses);
    }
    this.texts = texts.length;
  }
}

/** Memories of texts one after the other, those of shorter texts padded with rows that are not visible. */
export function joinMemories(config: T5Config, memories: readonly TextMemory[]): TextMemory {
  return config.mixers.cross.map((mixer, layer) => {
    const joined: Partial<Record<keyof CrossMemory, Tensor<'float32'>>> = {};
    for (const name of memoryTensors(mixer)) {
      const parts = memories.flatMap((memory) => memory[layer][name] ?? []);
      const axis = name === 'visible' ? 3 : 2;
      joined[name] = joinTexts(parts, axis);
    }
    return joined;
  });
}

/** Tensors [1,…] stacked, padded with zeros at the end of `axis`. */
function joinTexts(parts: readonly Tensor<'float32'>[], axis: number): Tensor<'float32'> {
  const [first] = parts;
  if (first === undefined) throw new LinnetError('INTERNAL', 'internal: a memory lacks a tensor');
  const longest = Math.max(...parts.map(({ shape }) => shape[axis]));
  const one = first.shape.map((size, i) => (i === axis ? longest : size));
  const outer = elementCount(one.slice(0, axis));
  const inner = elementCount(one.slice(axis + 1));
  const data = new Float32Array(parts.length * elementCount(one));
  parts.forEach((part, text) => {
    const rows = part.shape[axis] * inner;
    for (let o = 0; o < outer; o++) {
      data.set(part.data.subarray(o * rows, (o + 1) * rows), (text * outer + o) * longest * inner);
    }
  });
  return float32([parts.length, ...one.slice(1)], data);
}

function mapTensors(
  tensors: TextMemory[number],
  change: (value: Tensor<'float32'>) => Tensor<'float32'>,
): TextMemory[number] {
  return Object.fromEntries(Object.entries(tensors).map(([name, value]) => [name, change(value)]));
}

function taken({ shape, data }: Tensor<'float32'>, places: readonly number[]): Tensor<'float32'> {
  return tensor('float32', [places.length, ...shape.slice(1)], takenRows(data, shape[0], places));
}
