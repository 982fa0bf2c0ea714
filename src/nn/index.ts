/** `linnet/graph`: typed graphs with gradients, and how they run: as ONNX, on CPU or WebGPU (docs/reference/graph.md). */
export { gradients } from '../graph/gradients.ts';
export { Graph, type Value, type ValueType } from '../graph/graph.ts';
export { lowerGraph } from '../graph/onnx/lowering.ts';
export * as ops from '../graph/ops/index.ts';
export type { Dim, Shape } from '../graph/tensor.ts';
export { dataOf, type DType, type DTypeArrays, float32, int32, type Tensor, tensor, zeros } from '../graph/tensor.ts';
export { isDeviceAvailable } from '../runtime/availability.ts';
export {
  type CompileOptions,
  compile,
  type Device,
  type NamedTensors,
  type Program,
  type ProgramStatistics,
} from '../runtime/compile.ts';
export { InputParameters, type ParameterShapes, type ParameterSource, WeightParameters } from './parameters.ts';
