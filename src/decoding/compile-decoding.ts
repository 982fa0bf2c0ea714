/** Building the graphs of decoding and compiling them, on whatever engine. Runs in browsers too. */
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
 * Arguments of a `StepEngine`: the step graph and the fold graphs, compiled. The encoder of an encoder-decoder model is
 * compiled when a text is read.
 *
 * @param makeSource the parameters, for any graph of the model
 * @param device that `compile` compiles for. Default `wasm`
 */
export async function compileDecoding(
  model: GeneratingModel,
  makeSource: (graph: Graph) => ParameterSource,
  compile: GraphCompiler,
  device: Device = 'wasm',
  forms: StepForms = stepFormsOf(device),
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
        ...doublingLengths(encoderDecoder),
        compile: (length) => compile(encoderGraph(encoderDecoder, length, makeSource)),
      }),
  });
  return [decoder, program, folds, { encoder, addsInOrder: () => deviceAddsInOrder(device, compile) }, layout];
}
