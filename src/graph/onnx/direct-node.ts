/** The lowering of ops that ONNX has as they are. */
import type { Emitter, Node } from '../graph.ts';
import type { OnnxAttributes, OnnxDomain } from './model.ts';

/** Emits one ONNX node that reads the inputs of the op's node in their order and writes its outputs. */
export function directly<A>(
  opType: string,
  attributesOf: (attributes: A) => OnnxAttributes = () => ({}),
  domain?: OnnxDomain,
): (emitter: Emitter, node: Node, attributes: A) => void {
  return (emitter, { inputs, outputs }, attributes) => {
    emitter.emit(opType, inputs, outputs, attributesOf(attributes), domain);
  };
}
