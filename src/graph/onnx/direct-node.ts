/** Lowering for ops that ONNX has. */
import type { Emitter, Node } from '../graph.ts';
import type { OnnxAttributes, OnnxDomain } from './model.ts';

/** Emits one ONNX node with the op's inputs and outputs in their order. */
export function directly<A>(
  opType: string,
  attributesOf: (attributes: A) => OnnxAttributes = () => ({}),
  domain?: OnnxDomain,
): (emitter: Emitter, node: Node, attributes: A) => void {
  return (emitter, { inputs, outputs }, attributes) => {
    emitter.emit(opType, inputs, outputs, attributesOf(attributes), domain);
  };
}
