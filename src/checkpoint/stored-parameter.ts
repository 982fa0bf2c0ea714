/** Parameters that stay in their files until read: whole, in pieces, or into an array. */
import type { DeferredTensor, DType, Tensor, WeightMap } from '../graph/tensor.ts';
import type { ParameterTensor } from '../models/linearization/linearize.ts';
import type { ReadWeight, SegmentWeights } from '../runtime/segmented-program.ts';
import type { TensorSource } from './safetensors/encoding.ts';
import type { StoredDType } from './safetensors/stored-dtypes.ts';

/** A parameter in an open folder. */
export interface StoredParameter extends DeferredTensor<'float32'> {
  /** Whether it is stored in float16. */
  readonly isHalf: boolean;
  /**
   * Its numbers in pieces: as stored if they have this type, otherwise float32. Each is valid until the next is requested.
   */
  pieces(dtype: StoredDType): AsyncIterable<Float32Array | Uint16Array>;
  /** The same in float32, in whole rows. */
  rows(): AsyncIterable<Float32Array>;
}

/** A parameter in memory or in a file. */
export type AnyParameter = ParameterTensor | StoredParameter;

/** A parameter's numbers, for a file with this type. */
export function tensorSource(value: AnyParameter, dtype: StoredDType = 'F32'): TensorSource {
  if ('data' in value) return value.data;
  return 'pieces' in value ? () => value.pieces(dtype) : async () => (await value.load()).data;
}

/** Loads a parameter into memory. */
export async function loadTensor(value: AnyParameter): Promise<Tensor<'float32'>> {
  return 'data' in value ? value : await value.load();
}

/** The parameters that are in memory. */
export function residentTensors<D extends DType = 'float32'>(
  parameters: ReadonlyMap<string, Tensor<D> | DeferredTensor<'float32'>>,
): Map<string, Tensor<D>> {
  return new Map([...parameters].flatMap(([name, value]) => ('data' in value ? [[name, value]] : [])));
}

/** Loads all parameters into memory. */
export async function loadTensors(parameters: ReadonlyMap<string, AnyParameter>): Promise<WeightMap> {
  const loaded: WeightMap = new Map();
  for (const [name, value] of parameters) loaded.set(name, await loadTensor(value));
  return loaded;
}

/** Parameters read layer by layer, since not all are in memory; undefined if all are, and whole graphs can run. */
export function layeredWeights(parameters: ReadonlyMap<string, AnyParameter>): SegmentWeights | undefined {
  return residentTensors(parameters).size === parameters.size ? undefined : segmentWeights(parameters);
}

/** Parameters for graphs that run segment by segment. The engine converts float16 ones. */
export function segmentWeights(parameters: ReadonlyMap<string, AnyParameter>): SegmentWeights {
  return new Map([...parameters].map(([name, value]) => [name, 'data' in value ? value : readWeight(value)]));
}

function readWeight(value: DeferredTensor<'float32'> | StoredParameter): ReadWeight {
  const { shape } = value;
  if (!('pieces' in value)) {
    const readInto = async (target: Float32Array | Uint16Array): Promise<void> => target.set((await value.load()).data);
    return { dtype: 'float32', shape, readInto };
  }
  return {
    dtype: value.isHalf ? 'float16' : 'float32',
    shape,
    async readInto(target) {
      let done = 0;
      for await (const piece of value.pieces(value.isHalf ? 'F16' : 'F32')) {
        target.set(piece, done);
        done += piece.length;
      }
    },
  };
}
