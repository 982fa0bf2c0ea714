/** The lowering of ops that ONNX has as they are. */
import type { Emitter, Node } from '../graph.ts';
import type { OnnxAttributes } from './model.ts';

/** Emits one ONNX node that reads the inputs of the op's node in their order and writes its outputs. */
export function directly<A>(
  opType: string,
  attributesOf: (attributes: A) => OnnxAttributes = () => ({}),
): (emitter: Emitter, node: Node, attributes: A) => void {
  return (emitter, node, attributes) => {
    emitter.emit(
      opType,
      node.inputs.map((input) => emitter.name(input)),
      node.outputs.map((output) => emitter.name(output)),
      attributesOf(attributes),
    );
  };
}
