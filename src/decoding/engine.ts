/** Decodes with a model whose graphs are built and compiled here, in Node. */
import type { Graph } from '../graph/graph.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { GeneratingModel } from '../models/model.ts';
import type { StepForms } from '../models/graphs/step-forms.ts';
import { type ParameterSource, WeightParameters } from '../nn/parameters.ts';
import { compile, type CompileOptions } from '../runtime/compile.ts';
import { compileDecoding } from './compile-decoding.ts';
import { StepEngine } from './step-engine.ts';

interface EngineOptions extends CompileOptions {
  readonly forms?: StepForms;
  readonly memory?: number;
}

/** A step engine that compiles its own graphs. Make it with `create`; call `dispose` when done. */
export class DecodingEngine extends StepEngine {
  /** Compiles the step graph with the given parameters as weights. */
  static async create(
    model: GeneratingModel,
    parameters: ReadonlyMap<string, Tensor>,
    options?: EngineOptions,
  ): Promise<DecodingEngine> {
    return DecodingEngine.compile(model, (graph) => new WeightParameters(graph, parameters), options);
  }

  /**
   * Compiles the step graph with parameters from any source, for example quantized ones. An encoder-decoder model's encoder
   * is compiled when it reads a text, which may take `memory` bytes (default: three quarters of the available memory). `forms`
   * defaults to all the device has, for weights in blocks of at most 32.
   */
  static async compile(
    model: GeneratingModel,
    makeSource: (graph: Graph) => ParameterSource,
    { forms, memory = 0.75 * process.availableMemory(), ...options }: EngineOptions = {},
  ): Promise<DecodingEngine> {
    const compiled = (graph: Graph) => compile(graph, options);
    const { device = 'cpu' } = options;
    return new DecodingEngine(...(await compileDecoding(model, makeSource, compiled, device, forms, memory)));
  }
}
