/** How far the outputs of every layer move when parameters are stored in fewer bits: where the cost arises. */
import { LinnetError } from '../../errors.ts';
import { Graph } from '../../graph/graph.ts';
import { dataOf, tensor } from '../../graph/tensor.ts';
import type { CausalModel } from '../../models/model.ts';
import { parallelHidden } from '../../models/parallel-graph.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import { compile, type CompileOptions } from '../../runtime/compile.ts';
import { checkTokens, type EvaluationData, type ScoredWindow } from '../perplexity/scored-windows.ts';

/** The hidden states after one layer beside those of the reference. */
export interface LayerDifference {
  /** Largest and mean absolute difference, relative to `activationRms`. */
  readonly max: number;
  readonly mean: number;
  /** Root mean square of the reference's hidden states after the layer. */
  readonly activationRms: number;
}

export interface LayerComparison {
  /** Positions compared. */
  readonly tokens: number;
  /** One entry per layer, in their order. */
  readonly layers: readonly LayerDifference[];
}

/** Parameters to compute with, and how. */
export interface ComparedParameters extends CompileOptions {
  readonly makeSource: (graph: Graph) => ParameterSource;
}

export interface CompareLayersOptions {
  /** Tokens read, from the start of the first window on. Default: 512. */
  readonly tokens?: number;
  readonly signal?: AbortSignal;
}

const defaultTokens = 512;

/** Bytes of the hidden states that `compareLayers` holds: those of both sides, and the engine's own of one. */
export function layerBytes({ layers, width }: CausalModel['sizes'], tokens = defaultTokens): number {
  return 3 * 4 * tokens * layers * width;
}

/**
 * Compares the residual stream after every layer under two sources of the same parameters, on the first tokens of a
 * text. Both are compiled in the parallel form, one after the other: only hidden states outlive a program.
 *
 * @throws LinnetError `INPUT` if there is no token, `MISMATCH` for tokens outside the model's vocabulary, `ABORTED` when
 *   the signal fires between two windows, and as `compile`
 * @example
 * ```ts
 * declare const tokens: Parameters<typeof compareLayers>[3];
 * const differences = await compareLayers(model, reference, other, tokens);
 * ```
 */
export async function compareLayers(
  model: CausalModel,
  reference: ComparedParameters,
  other: ComparedParameters,
  { windows }: Pick<EvaluationData, 'windows'>,
  { tokens: most = defaultTokens, signal }: CompareLayersOptions = {},
): Promise<LayerComparison> {
  const texts = firstTokens(windows, most);
  if (texts.length === 0) throw new LinnetError('INPUT', 'there is no text to compare the layers on');
  checkTokens(
    texts.map((tokens) => ({ tokens })),
    model.sizes.vocabulary,
  );
  const expected: Float32Array[][] = [];
  await readLayers(model, reference, texts, signal, (hidden) => expected.push(hidden));
  const sums = Array.from({ length: model.sizes.layers }, () => new DifferenceSum());
  await readLayers(model, other, texts, signal, (hidden, text) => {
    sums.forEach((sum, layer) => sum.add(expected[text][layer], hidden[layer]));
  });
  return {
    tokens: texts.reduce((count, { length }) => count + length, 0),
    layers: sums.map((sum) => sum.difference()),
  };
}

/** The starts of windows, of so many tokens together. */
function firstTokens(windows: readonly ScoredWindow[], most: number): Int32Array[] {
  const texts: Int32Array[] = [];
  let left = most;
  for (const { tokens } of windows) {
    const text = tokens.subarray(0, left);
    if (text.length > 0) texts.push(text);
    left -= text.length;
  }
  return texts;
}

/**
 * Runs the layers over texts.
 * @param visit given the hidden states [n,width] of every layer, of the text's own n positions
 */
async function readLayers(
  model: CausalModel,
  { makeSource, ...options }: ComparedParameters,
  texts: readonly Int32Array[],
  signal: AbortSignal | undefined,
  visit: (hidden: Float32Array[], text: number) => void,
): Promise<void> {
  const { layers, width } = model.sizes;
  const length = Math.max(...texts.map((text) => text.length));
  const names = Array.from({ length: layers }, (_, layer) => outputName(layer));
  await using program = await compile(layersGraph(model, makeSource, length), options);
  for (const [index, text] of texts.entries()) {
    if (signal?.aborted === true)
      throw new LinnetError('ABORTED', `stopped after ${index} of ${texts.length} windows of the layers`);
    const padded = new Int32Array(length);
    padded.set(text);
    const found = await program.run({ tokens: tensor('int32', [1, length], padded) }, names);
    visit(
      names.map((name) => dataOf(found[name], 'float32').subarray(0, text.length * width)),
      index,
    );
  }
}

/** `tokens` int32 [1,n] → `layer.i` [1,n,width]: the residual stream after every layer. */
function layersGraph(model: CausalModel, makeSource: (graph: Graph) => ParameterSource, length: number): Graph {
  const graph = new Graph(`${model.family} layers`);
  const tokens = graph.input('tokens', 'int32', [1, length]);
  parallelHidden(model, makeSource(graph), tokens, (layer, hidden) => graph.output(outputName(layer), hidden));
  return graph;
}

function outputName(layer: number): string {
  return `layer.${layer}`;
}

/** Sums over all positions and channels of a layer, in float64. */
class DifferenceSum {
  #numbers = 0;
  #squares = 0;
  #differences = 0;
  #largest = 0;

  add(expected: Float32Array, found: Float32Array): void {
    this.#numbers += expected.length;
    for (let i = 0; i < expected.length; i++) {
      const off = Math.abs(found[i] - expected[i]);
      this.#squares += expected[i] * expected[i];
      this.#differences += off;
      this.#largest = Math.max(this.#largest, off); // keeps NaN
    }
  }

  difference(): LayerDifference {
    const activationRms = Math.sqrt(this.#squares / this.#numbers);
    // Hidden states that are all zero differ by nothing, not by 0/0.
    const relative = (difference: number): number => (difference === 0 ? 0 : difference / activationRms);
    return { max: relative(this.#largest), mean: relative(this.#differences / this.#numbers), activationRms };
  }
}
