/** How far the outputs of every layer move when parameters are stored in fewer bits: where the cost arises. */
import { LinnetError, requireRunning, type Stoppable } from '../../errors.ts';
import { longestLength } from '../../data/rows/longest.ts';
import { Graph } from '../../graph/graph.ts';
import { dataOf, type Tensor, tensor } from '../../graph/tensor.ts';
import { decoderOf, type GeneratingModel, type LayerObserver } from '../../models/model.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import { compile, type CompileOptions } from '../../runtime/compile.ts';
import { checkTokens, type EvaluationData, type ScoredWindow } from '../perplexity/scored-windows.ts';
import { windowHidden } from '../perplexity/window-batches.ts';

/** Difference of the hidden states after one layer from the reference. */
export interface LayerDifference {
  /** Largest and mean absolute difference, relative to `activationRms`. */
  readonly max: number;
  readonly mean: number;
  /** Root mean square of the reference's hidden states after the layer. */
  readonly activationRms: number;
}

/** The error of every layer of a model against another. */
export interface LayerComparison {
  /** Positions compared. */
  readonly tokens: number;
  /** One entry per layer, in their order; in encoder-decoder models the encoder's first. */
  readonly layers: readonly LayerDifference[];
}

/** Parameters to compute with, and how. */
export interface ComparedParameters extends CompileOptions {
  /** Makes the source of the parameters for a graph. */
  readonly makeSource: (graph: Graph) => ParameterSource;
}

/** Extent of a comparison of layers. */
export interface CompareLayersOptions extends Stoppable {
  /** Tokens read, from the start of the first window on. Default: 512. */
  readonly tokens?: number;
}

const defaultTokens = 512;

/** Bytes of the hidden states that `compareLayers` holds: those of both sides, and the engine's own of one. */
export function layerBytes({ layers, width }: GeneratingModel['sizes'], tokens = defaultTokens): number {
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
  model: GeneratingModel,
  reference: ComparedParameters,
  other: ComparedParameters,
  { windows }: Pick<EvaluationData, 'windows'>,
  { tokens: most = defaultTokens, signal }: CompareLayersOptions = {},
): Promise<LayerComparison> {
  const texts = firstTokens(windows, most);
  if ((decoderOf(model).cross !== undefined) !== texts.every(({ source }) => source !== undefined)) {
    throw new LinnetError('INPUT', `windows to compare the layers of a ${model.family} model on are of another kind`);
  }
  if (texts.length === 0) throw new LinnetError('INPUT', 'there is no text to compare the layers on');
  checkTokens(
    texts.flatMap(({ source, tokens }) => [{ tokens }, ...(source === undefined ? [] : [{ tokens: source }])]),
    model.sizes.vocabulary,
  );
  const expected: Float32Array[][] = [];
  await readLayers(model, reference, texts, signal, (hidden) => expected.push(hidden));
  const sums = Array.from({ length: model.sizes.layers }, () => new DifferenceSum());
  await readLayers(model, other, texts, signal, (hidden, text) => {
    sums.forEach((sum, layer) => sum.add(expected[text][layer], hidden[layer]));
  });
  return {
    tokens: texts.reduce((count, { source, tokens }) => count + tokens.length + (source?.length ?? 0), 0),
    layers: sums.map((sum) => sum.difference()),
  };
}

/** Input of a model: the text it reads or predicts, and the source that it reads before. */
type ComparedText = Pick<ScoredWindow, 'source' | 'tokens'>;

/** The starts of windows, with at most `most` tokens together. */
function firstTokens(windows: readonly ScoredWindow[], most: number): ComparedText[] {
  const texts: ComparedText[] = [];
  let left = most;
  for (const window of windows) {
    if (left <= 0) break;
    const source = window.source?.subarray(0, Math.max(1, left - 1)); // leaves a token to predict
    left -= source?.length ?? 0;
    const tokens = window.tokens.subarray(0, Math.max(source === undefined ? 0 : 1, left));
    left -= tokens.length;
    if (tokens.length > 0) texts.push({ source, tokens });
  }
  return texts;
}

/**
 * Runs the layers over texts.
 * @param visit given the hidden states [n,width] of every layer, of the n positions of the text that it reads
 */
async function readLayers(
  model: GeneratingModel,
  { makeSource, ...options }: ComparedParameters,
  texts: readonly ComparedText[],
  signal: AbortSignal | undefined,
  visit: (hidden: Float32Array[], text: number) => void,
): Promise<void> {
  const { layers, width } = model.sizes;
  const length = longestLength(texts.map(({ tokens }) => tokens));
  const sourceLength = longestLength(texts.map(({ source }) => source ?? []));
  const names = Array.from({ length: layers }, (_, layer) => outputName(layer));
  await using program = await compile(layersGraph(model, makeSource, length, sourceLength), options);
  for (const [index, { source, tokens }] of texts.entries()) {
    requireRunning(signal, `after ${index} of ${texts.length} windows of the layers`);
    const feeds: Record<string, Tensor> = { tokens: padded(tokens, length) };
    if (source !== undefined) {
      feeds.source = padded(source, sourceLength);
      feeds.sourceMask = tensor('float32', [1, sourceLength], new Float32Array(sourceLength).fill(1, 0, source.length));
    }
    const found = await program.run(feeds, names);
    const ofEncoder = layers - decoderOf(model).sizes.layers;
    visit(
      names.map((name, layer) => {
        const positions = layer < ofEncoder ? (source?.length ?? 0) : tokens.length;
        return dataOf(found[name], 'float32').subarray(0, positions * width);
      }),
      index,
    );
  }
}

function padded(tokens: Int32Array, length: number): Tensor<'int32'> {
  const data = new Int32Array(length);
  data.set(tokens);
  return tensor('int32', [1, length], data);
}

/**
 * `tokens` int32 [1,n], of encoder-decoder models also `source` int32 [1,m] and `sourceMask` float32 [1,m] → `layer.i` [1,n,width],
 * of the encoder's [1,m,width]: the residual stream after every layer.
 */
function layersGraph(
  model: GeneratingModel,
  makeSource: (graph: Graph) => ParameterSource,
  length: number,
  sourceLength: number,
): Graph {
  const graph = new Graph(`${model.family} layers`);
  let count = 0;
  const observe: LayerObserver = (_, hidden) => graph.output(outputName(count++), hidden);
  windowHidden(model, makeSource(graph), graph.input('tokens', 'int32', [1, length]), sourceLength, observe);
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
