/** Decoding with a model whose graphs are built and compiled here, in Node. */
import type { Graph } from '../graph/graph.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { CausalModel } from '../models/model.ts';
import { foldGraph, stepGraph } from '../models/step-graph.ts';
import { type ParameterSource, WeightParameters } from '../nn/parameters.ts';
import { compile, type CompileOptions } from '../runtime/compile.ts';
import type { FoldPrograms } from './state/commit.ts';
import { foldClasses } from './state/sequence-state.ts';
import { StepEngine } from './step-engine.ts';

/** A step engine that compiles its own graphs. Make it with `create`; `dispose` of it. */
export class DecodingEngine extends StepEngine {
  /** Compiles the step graph with the given parameters as weights. */
  static async create(
    model: CausalModel,
    parameters: ReadonlyMap<string, Tensor>,
    options?: CompileOptions,
  ): Promise<DecodingEngine> {
    return DecodingEngine.compile(model, (graph) => new WeightParameters(graph, parameters), options);
  }

  /** Compiles the step graph with parameters from any source, quantized ones for example. */
  static async compile(
    model: CausalModel,
    makeSource: (graph: Graph) => ParameterSource,
    options?: CompileOptions,
  ): Promise<DecodingEngine> {
    const program = await compile(stepGraph(model, makeSource), options);
    const folds: FoldPrograms = new Map();
    for (const { program: name, layers } of foldClasses(model)) {
      if (folds.has(name)) continue;
      folds.set(name, await compile(foldGraph(model, layers[0], makeSource), options));
    }
    return new DecodingEngine(model, program, folds);
  }
}
