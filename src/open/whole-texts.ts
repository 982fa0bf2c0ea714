/** A model that reads texts whole, one at a time: a graph per length of text, doubling from 32. */
import type { LaidOutText } from '../data/datasets/text-layouts.ts';
import { Graph, type Value } from '../graph/graph.ts';
import { dataOf, float32, int32, type Tensor } from '../graph/tensor.ts';
import type { ClassifiedTexts } from '../models/model.ts';
import { type ParameterSource, WeightParameters } from '../nn/parameters.ts';
import { compile, type CompileOptions } from '../runtime/compile.ts';
import { onlyInputs, type Program } from '../runtime/program.ts';

/** Parameters of the model, and the result to compute. */
export interface WholeTextParts {
  readonly parameters: ReadonlyMap<string, Tensor>;
  readonly compile: CompileOptions;
  /** The value to compute for a text [1,n]. */
  readonly result: (source: ParameterSource, texts: ClassifiedTexts) => Value;
}

/** Runs a model over texts. Dispose of it. */
export class WholeTexts implements AsyncDisposable {
  readonly #longest: number;
  readonly #padding: number;
  readonly #parts: WholeTextParts;
  readonly #programs = new Map<number, Promise<Program>>();

  /** @param padding token that fills a length up; no position reads it */
  constructor(longest: number, padding: number, parts: WholeTextParts) {
    this.#longest = longest;
    this.#padding = padding;
    this.#parts = parts;
  }

  /** The result for a text. @param text of one token or more, and of no more than the model reads */
  async run({ tokens: own, pairStart }: LaidOutText): Promise<Float32Array> {
    const count = own.length;
    const length = Math.max(count, Math.min(this.#longest, 2 ** Math.max(5, Math.ceil(Math.log2(count)))));
    const tokens = new Int32Array(length).fill(this.#padding);
    tokens.set(own);
    const program = await this.#program(length);
    const feeds = {
      tokens: int32([1, length], tokens),
      mask: float32([1, length], new Float32Array(length).fill(1, 0, count)),
      last: int32([1], [count - 1]),
      segments: int32([1, length], new Int32Array(length).fill(1, pairStart, count)),
    };
    const { result } = await program.run(onlyInputs(program, feeds), ['result']);
    return dataOf(result, 'float32');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const program of this.#programs.values()) await (await program).dispose();
    this.#programs.clear();
  }

  #program(length: number): Promise<Program> {
    const known = this.#programs.get(length);
    if (known !== undefined) return known;
    const { result, parameters, compile: options } = this.#parts;
    const graph = new Graph('whole text');
    const texts = {
      tokens: graph.input('tokens', 'int32', [1, length]),
      mask: graph.input('mask', 'float32', [1, length]),
      last: graph.input('last', 'int32', [1]),
      segments: graph.input('segments', 'int32', [1, length]),
    };
    graph.output('result', result(new WeightParameters(graph, parameters), texts));
    const program = compile(graph, options);
    this.#programs.set(length, program);
    return program;
  }
}
