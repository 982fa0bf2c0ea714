/** Builds and compiles the decoding graphs, on any engine. Also runs in browsers. */
import type { Graph } from '../graph/graph.ts';
import type { Device } from '../graph/onnx/model.ts';
import { encoderGraph } from '../models/graphs/encoder-graph.ts';
import { foldGraph } from '../models/graphs/fold-graph.ts';
import { byKind, decoderOf, type GeneratingModel } from '../models/model.ts';
import { foldGraphs, modelLayout } from '../models/graphs/model-layout.ts';
import { type StepForms, stepFormsOf } from '../models/graphs/step-forms.ts';
import { stepGraph } from '../models/graphs/step-graph.ts';
import type { ParameterSource } from '../nn/parameters.ts';
import type { GraphCompiler } from '../runtime/program.ts';
import { deviceAddsInOrder } from '../runtime/kernel-probes.ts';
import { doublingLengths, SourceEncoder } from './source-encoder.ts';
import type { FoldPrograms } from './state/commit.ts';
import type { StepEngine } from './step-engine.ts';

/**
 * A `StepEngine`'s arguments: the compiled step graph and fold graphs. An encoder-decoder model's encoder is compiled when
 * it reads a text.
 *
 * @param makeSource provides the parameters for any graph of the model
 * @param device that `compile` targets. Default `wasm`
 * @param sourceMemory bytes that an encoder may take to read a text. Default: no limit
 */
export async function compileDecoding(
  model: GeneratingModel,
  makeSource: (graph: Graph) => ParameterSource,
  compile: GraphCompiler,
  device: Device = 'wasm',
  forms: StepForms = stepFormsOf(device),
  sourceMemory?: number,
): Promise<ConstructorParameters<typeof StepEngine>> {
  const decoder = decoderOf(model);
  const layout = modelLayout(decoder, forms);
  const program = await compile(stepGraph(decoder, makeSource, layout));
  const folds: FoldPrograms = new Map();
  try {
    for (const { name, layer } of foldGraphs(layout)) {
      folds.set(name, await compile(foldGraph(decoder, layer, makeSource, layout)));
    }
  } catch (error) {
    for (const made of [program, ...folds.values()]) await made.dispose();
    throw error;
  }
  const encoder = byKind(model, {
    causal: () => undefined,
    'encoder-decoder': (encoderDecoder) =>
      new SourceEncoder(encoderDecoder, {
        ...doublingLengths(encoderDecoder, sourceMemory),
        compile: (length) => compile(encoderGraph(encoderDecoder, length, makeSource)),
      }),
  });
  return [decoder, program, folds, { encoder, addsInOrder: () => deviceAddsInOrder(device, compile) }, layout];
}
