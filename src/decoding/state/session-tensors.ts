/** A saved session's tensors besides its tokens: their shapes, and where their numbers are in a state. */
import { internalError } from '../../errors.ts';
import { zeros } from '../../graph/tensor.ts';
import type { AutoregressiveModel, CrossAttention } from '../../models/model.ts';
import { foldStart, positionInSlot } from '../../attention/masks.ts';
import type { ModelLayout } from '../../models/graphs/model-layout.ts';
import { crossShapes } from '../../models/graphs/step-graph.ts';
import type { EncodedText, SequenceState } from './sequence-state.ts';

/** A session file's tensor. */
export interface SessionTensor {
  readonly name: string;
  readonly dtype: 'int32' | 'float32';
  readonly shape: readonly number[];
  /** Its numbers in a state: in a growing cache, each of the first dimension's matrices has more rows there. */
  readonly of: (state: SequenceState) => Float32Array | Int32Array;
  /** The only numbers it can have. */
  readonly expected?: Int32Array;
  /** The state's matrices that lie side by side in one of the file's. Default: 1. */
  readonly parts?: number;
}

/**
 * The tensors of a state that has read `length` tokens, in file order.
 * @param m the source's tokens, in models that read one
 */
export function sessionTensors(
  model: AutoregressiveModel,
  { layers, slotLayouts }: ModelLayout,
  length: number,
  m: number,
): SessionTensor[] {
  const { shiftWidth = 0 } = model.sizes;
  const tensors = slotLayouts.map((slots): SessionTensor => {
    const { name, ring = length, horizon } = slots;
    // Each slot's position: the last that falls on it.
    const expected = Int32Array.from({ length: ring }, (_, slot) => positionInSlot(slot, ring, length, horizon));
    return {
      name: `positions.${name}`,
      dtype: 'int32',
      shape: [ring],
      expected,
      of: (state) => state.positions[slots.index],
    };
  });
  const add = (
    name: string,
    shape: readonly number[],
    of: (state: SequenceState) => Float32Array | undefined,
    parts?: number,
  ): void => {
    const numbers = (state: SequenceState): Float32Array => {
      const own = of(state);
      if (own === undefined) throw internalError(`a state without ${name}`);
      return own;
    };
    tensors.push({ name, dtype: 'float32', shape, of: numbers, parts });
  };
  layers.forEach(({ slots, sums, heads: M, ...widths }, layer) => {
    const { ring = length, rowsPerGroup, horizon } = slots;
    for (const part of ['keys', 'values'] as const) {
      const { width, parts } = widths[part];
      add(`${part}.${layer}`, [M, ring, width], (state) => state.layers[layer][part], parts);
    }
    if (shiftWidth > 0) add(`previous.${layer}`, [1, 1, shiftWidth], (state) => state.layers[layer].previous);
    if (rowsPerGroup !== undefined) {
      const count = (rowsPerGroup * foldStart(length, horizon)) / horizon.group;
      for (const part of ['keys', 'values'] as const) {
        add(`memory.${part}.${layer}`, [M, count, widths[part].width], (state) => state.groupRows[layer]?.[part]);
      }
    }
    if (sums !== undefined) add(`sums.${layer}`, [M, ...sums], (state) => state.layerSums[layer]);
  });
  if (model.cross === undefined) return tensors;
  const source = ({ encoded }: SequenceState): Int32Array => encoded?.tokens ?? new Int32Array(0);
  tensors.push({ name: 'source', dtype: 'int32', shape: [m], of: source });
  for (const [layer, memories] of memoryShapes(model.cross, model, m).entries()) {
    for (const [name, shape] of memories) {
      add(`cross.${layer}.${name}`, shape, ({ encoded }) => encoded?.layers[layer][name].data);
    }
  }
  return tensors;
}

/** Room for an encoded source of m tokens, zeros until filled in; undefined in models that read none. */
export function emptySource(model: AutoregressiveModel, m: number): EncodedText | undefined {
  if (model.cross === undefined) return undefined;
  const shapes = memoryShapes(model.cross, model, m);
  const layers = shapes.map((memories) =>
    Object.fromEntries(memories.map(([name, shape]) => [name, zeros('float32', shape)])),
  );
  return { tokens: new Int32Array(m), layers };
}

/** Names and shapes of each layer's memories for a source of m tokens. */
function memoryShapes(
  cross: CrossAttention,
  model: AutoregressiveModel,
  m: number,
): (readonly [name: string, shape: readonly number[]])[][] {
  return cross.mixers.map((_, layer) =>
    Object.entries(crossShapes(cross, model, layer)).map(([name, dims]) => [
      name,
      dims.map((dim) => (typeof dim === 'number' ? dim : m)),
    ]),
  );
}
