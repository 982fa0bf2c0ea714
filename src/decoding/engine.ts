/** Decoding with a model whose graphs are built and compiled here, in Node. */
import type { Tensor } from '../graph/tensor.ts';
import type { CausalModel } from '../models/model.ts';
import { foldGraph, stepGraph } from '../models/step-graph.ts';
import { WeightParameters } from '../nn/parameters.ts';
import { compile, type CompileOptions } from '../runtime/compile.ts';
import type { FoldPrograms } from './commit.ts';
import { foldClasses } from './state.ts';
import { StepEngine } from './step-engine.ts';

/** A step engine that compiles its own graphs. Make it with `create`; `dispose` of it. */
export class DecodingEngine extends StepEngine {
  /** Compiles the step graph with the given parameters as weights. */
  static async create(
    model: CausalModel,
    parameters: ReadonlyMap<string, Tensor>,
    options?: CompileOptions,
  ): Promise<DecodingEngine> {
    const program = await compile(
      stepGraph(model, (graph) => new WeightParameters(graph, parameters)),
      options,
    );
    const folds: FoldPrograms = new Map();
    for (const { program: name, layers } of foldClasses(model)) {
      if (folds.has(name)) continue;
      const fold = foldGraph(model, layers[0], (graph) => new WeightParameters(graph, parameters));
      folds.set(name, await compile(fold, options));
    }
    return new DecodingEngine(model, program, folds);
  }
}
