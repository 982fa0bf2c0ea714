/** Encoded source of an encoder-decoder model: the memories of cross attention, layer by layer. */
import { LinnetError } from '../../errors.ts';
import { elementCount, float32, type Tensor } from '../../graph/tensor.ts';
import type { AutoregressiveModel } from '../../models/model.ts';
import { crossShapes } from '../../models/graphs/step-graph.ts';
import { copyMatrices } from './matrices.ts';

/** Made by an engine's `encode`; states of the text and all their forks share it, and nothing changes it. */
export interface EncodedText {
  /** The tokens that were read. */
  readonly tokens: Int32Array;
  /** Per layer of the decoder, tensors by name, without the batch: see `CrossForm`. */
  readonly layers: readonly Readonly<Record<string, Tensor<'float32'>>>[];
}

/**
 * `cross.i.NAME` of a step over several texts, those of shorter texts padded with zeros, which mean "not visible". One text
 * is read in place; the feeds of several are kept as long as the texts are the same, since making them copies.
 */
export class EncodedFeeds {
  readonly #model: AutoregressiveModel;
  #texts: readonly EncodedText[] = [];
  #feeds: Record<string, Tensor> = {};

  constructor(model: AutoregressiveModel) {
    this.#model = model;
  }

  /** @throws LinnetError `INPUT` for a state without a text, where the model reads one */
  feeds(texts: readonly (EncodedText | undefined)[]): Record<string, Tensor> {
    const { cross } = this.#model;
    if (cross === undefined) return {};
    const given = texts.map((text) => {
      if (text !== undefined) return text;
      throw new LinnetError('INPUT', 'a decoder needs a text to read: encode one, and make the state with it');
    });
    const same = given.length === this.#texts.length && given.every((text, b) => text === this.#texts[b]);
    if (same) return this.#feeds;
    this.#feeds = {};
    cross.mixers.forEach((_, layer) => {
      for (const [name, shape] of Object.entries(crossShapes(cross, this.#model, layer))) {
        const parts = given.map((text) => text.layers[layer][name]);
        this.#feeds[`cross.${layer}.${name}`] = stacked(parts, shape.indexOf('m'));
      }
    });
    this.#texts = given;
    return this.#feeds;
  }
}

/** Tensors of one rank with the batch put first, padded with zeros at the end of `axis`; −1 for none. */
function stacked(parts: readonly Tensor<'float32'>[], axis: number): Tensor<'float32'> {
  const [{ shape, data }] = parts;
  if (parts.length === 1) return float32([1, ...shape], data);
  const longest = axis < 0 ? 1 : Math.max(...parts.map((part) => part.shape[axis]));
  const one = shape.map((size, i) => (i === axis ? longest : size));
  const size = elementCount(one);
  const joined = new Float32Array(parts.length * size);
  parts.forEach((part, b) => {
    const outer = elementCount(one.slice(0, Math.max(axis, 0)));
    copyMatrices(part.data, joined.subarray(b * size, (b + 1) * size), outer);
  });
  return float32([parts.length, ...one], joined);
}
