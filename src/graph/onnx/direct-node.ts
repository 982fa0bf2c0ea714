/** The lowering of ops that ONNX has as they are. */
import type { Node } from '../graph.ts';
import type { Emitter, OnnxAttributes } from './model.ts';

/** Emits one ONNX node that reads the inputs of `node` in their order and writes its outputs. */
export function emitDirectly(emitter: Emitter, node: Node, opType: string, attributes: OnnxAttributes = {}): void {
  emitter.emit(
    opType,
    node.inputs.map((input) => emitter.name(input)),
    node.outputs.map((output) => emitter.name(output)),
    attributes,
  );
}
