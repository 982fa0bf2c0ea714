/** The encoder's result for the decoder: cross attention's memories, one graph per length. */
import { crossForm } from '../../attention/mixers.ts';
import { Graph, type ValueType } from '../../graph/graph.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import type { EncoderDecoderModel } from '../model.ts';
import { mixerParameterValues, scoringOf } from './parallel-graph.ts';
import { crossShapes } from './step-graph.ts';

/** A graph's value by name; possibly optional. */
type NamedValue = ValueType & { readonly name: string; readonly optional?: boolean };

/** Inputs and outputs of `encoderGraph` for a length; the mask only if a mixer reads it. */
export function encoderSignature(
  { decoder }: EncoderDecoderModel,
  length: number,
): { readonly inputs: readonly NamedValue[]; readonly outputs: readonly NamedValue[] } {
  const { cross } = decoder;
  const outputs = (cross?.mixers ?? []).flatMap((_, layer) =>
    Object.entries(cross === undefined ? {} : crossShapes(cross, decoder, layer)).map(([name, shape]): NamedValue => {
      const sizes = shape.map((dim) => (dim === 'm' ? length : dim));
      return { name: `cross.${layer}.${name}`, dtype: 'float32', shape: [1, ...sizes] };
    }),
  );
  const inputs: NamedValue[] = [
    { name: 'tokens', dtype: 'int32', shape: [1, length] },
    { name: 'mask', dtype: 'float32', shape: [1, length], optional: true },
  ];
  return { inputs, outputs };
}

/**
 * The encoder over one text, and each decoder layer's memory of it: `tokens` int32 [1,n] and `mask` float32 [1,n], 0 for
 * padding → `cross.i.NAME`, see `CrossForm`.
 *
 * @param length n
 * @throws LinnetError `CONFIG` for a cross-attention mixer that keeps no memory of a text
 */
export function encoderGraph(
  model: EncoderDecoderModel,
  length: number,
  makeSource: (graph: Graph) => ParameterSource,
): Graph {
  const { decoder } = model;
  const graph = new Graph(`${model.family} encoder of ${length}`);
  const source = makeSource(graph);
  const mask = graph.input('mask', 'float32', [1, length]);
  const encoded = model.encode(source, { tokens: graph.input('tokens', 'int32', [1, length]), mask });
  const { cross } = decoder;
  cross?.mixers.forEach((mixer, layer) => {
    const parameters = mixerParameterValues({ ...cross, sizes: decoder.sizes }, source, layer);
    const text = { ...cross.project(source, layer, encoded), mask };
    const memory = crossForm(mixer).memory(mixer, text, parameters, scoringOf(decoder));
    for (const name of Object.keys(crossShapes(cross, decoder, layer))) {
      graph.output(`cross.${layer}.${name}`, memory[name]);
    }
  });
  return graph;
}
