/** Decoding with a model whose graphs are built and compiled here, in Node. */
import type { Graph } from '../graph/graph.ts';
import type { Tensor } from '../graph/tensor.ts';
import { encoderGraph } from '../models/encoder-graph.ts';
import { foldGraph } from '../models/fold-graph.ts';
import { decoderOf, type GeneratingModel } from '../models/model.ts';
import { foldGraphs, modelLayout } from '../models/model-layout.ts';
import { stepGraph } from '../models/step-graph.ts';
import { type ParameterSource, WeightParameters } from '../nn/parameters.ts';
import { compile, type CompileOptions } from '../runtime/compile.ts';
import type { FoldPrograms } from './state/commit.ts';
import { StepEngine } from './step-engine.ts';
import { doublingLengths, SourceEncoder } from './source-encoder.ts';

/** A step engine that compiles its own graphs. Make it with `create`; `dispose` of it. */
export class DecodingEngine extends StepEngine {
  /** Compiles the step graph with the given parameters as weights. */
  static async create(
    model: GeneratingModel,
    parameters: ReadonlyMap<string, Tensor>,
    options?: CompileOptions,
  ): Promise<DecodingEngine> {
    return DecodingEngine.compile(model, (graph) => new WeightParameters(graph, parameters), options);
  }

  /**
   * Compiles the step graph with parameters from any source, quantized ones for example. The encoder of an encoder-decoder
   * model is compiled when a text is read.
   */
  static async compile(
    model: GeneratingModel,
    makeSource: (graph: Graph) => ParameterSource,
    options?: CompileOptions,
  ): Promise<DecodingEngine> {
    const decoder = decoderOf(model);
    const layout = modelLayout(decoder);
    const program = await compile(stepGraph(decoder, makeSource, layout), options);
    const folds: FoldPrograms = new Map();
    for (const { name, layer } of foldGraphs(layout)) {
      folds.set(name, await compile(foldGraph(decoder, layer, makeSource, layout), options));
    }
    const encoder =
      model.kind === 'causal'
        ? undefined
        : new SourceEncoder(model, {
            ...doublingLengths(model),
            compile: (length) => compile(encoderGraph(model, length, makeSource), options),
          });
    return new DecodingEngine(decoder, program, folds, { encoder }, layout);
  }
}
