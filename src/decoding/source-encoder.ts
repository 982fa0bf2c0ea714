/**
 * Runs an encoder-decoder model's encoder: one program per length, since its graphs have static shapes. Texts are padded to
 * one of a few lengths.
 */
import { longestSequence } from '../attention/mixers.ts';
import { LinnetError } from '../errors.ts';
import { dataOf, elementCount, float32, int32, type Tensor } from '../graph/tensor.ts';
import type { EncoderDecoderModel } from '../models/model.ts';
import { crossShapes } from '../models/graphs/step-graph.ts';
import type { Program } from '../runtime/program.ts';
import type { EncodedText } from './state/sequence-state.ts';
import { resizedMatrices } from './state/matrices.ts';

/** Compiled encoders to keep, one per length: the most recent. */
const keptPrograms = 3;

/** Lengths that texts are padded to. */
export interface SourceLengths {
  /** The longest text it can read. */
  readonly longest: number;
  /** The smallest length to which a text of `tokens` tokens is padded; undefined if none is long enough. */
  readonly lengthFor: (tokens: number) => number | undefined;
  /** Advice for a text that is too long. Default: to cut it. */
  readonly remedy?: string;
}

/** Where an encoder's programs come from. */
export interface EncoderPrograms extends SourceLengths {
  /** Compiles the encoder for a length that `lengthFor` returned. */
  compile(length: number): Promise<Program>;
}

/** Bytes of a pair of tokens in one head while softmax reads them: its graph is made and run with eleven numbers of each (measured). */
const pairBytes = 44;

/**
 * Lengths that double from 32, so that few graphs are compiled, up to the longest that the mixers serve.
 * @param memory bytes that softmax over all pairs of a text's tokens may take. Default: no limit
 */
export function doublingLengths(model: EncoderDecoderModel, memory = Infinity): SourceLengths {
  const served = longestSource(model);
  const attendsToAll = model.mixers.some(({ kind }, i) => kind === 'softmax' && model.attentions[i].part === 'encoder');
  const pairs = attendsToAll ? memory / (pairBytes * model.decoder.sizes.heads) : Infinity;
  const fitting = pairs < 1 ? 0 : 2 ** Math.floor(Math.log2(pairs) / 2);
  const longest = Math.min(served, fitting);
  return {
    longest,
    lengthFor: (tokens) =>
      tokens > longest ? undefined : Math.min(longest, 2 ** Math.max(5, Math.ceil(Math.log2(tokens)))),
    remedy: fitting < served ? 'cut it, or allow more memory' : undefined,
  };
}

/** The longest text that the encoder's and cross-attention mixers serve; infinite for most. */
export function longestSource({ mixers, attentions }: Pick<EncoderDecoderModel, 'mixers' | 'attentions'>): number {
  return Math.min(...mixers.filter((_, i) => attentions[i].part !== 'decoder').map(longestSequence));
}

/** The lengths `doublingLengths` uses up to the model's trained length, rising. */
export function sourceLengths(model: EncoderDecoderModel): number[] {
  const { longest, lengthFor } = doublingLengths(model);
  const lengths = new Set<number>();
  const last = Math.min(longest, model.decoder.sizes.trainedLength);
  for (let tokens = 1; tokens < 2 * last; tokens *= 2) lengths.add(lengthFor(Math.min(tokens, last)) ?? last);
  return [...lengths];
}

/** A list of lengths, rising. */
export function listedLengths(lengths: readonly number[]): SourceLengths {
  return { longest: Math.max(...lengths), lengthFor: (tokens) => lengths.find((length) => length >= tokens) };
}

/** Reads texts. Call `dispose` when done. */
export class SourceEncoder implements AsyncDisposable {
  readonly #model: EncoderDecoderModel;
  readonly #programs: EncoderPrograms;
  readonly #compiled = new Map<number, Program>();
  /** The text being read: texts are read one after the other, so that no running program is disposed of. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(model: EncoderDecoderModel, programs: EncoderPrograms) {
    this.#model = model;
    this.#programs = programs;
  }

  /** See `SourceLengths`. */
  get longest(): number {
    return this.#programs.longest;
  }

  /**
   * Reads a text of token ids, usually including its EOS.
   * @throws LinnetError `INPUT` for an empty or too long text, or tokens outside the vocabulary
   */
  encode(tokens: ArrayLike<number>): Promise<EncodedText> {
    const encoded = this.#turn.then(() => this.#encode(tokens));
    this.#turn = encoded.catch(() => undefined);
    return encoded;
  }

  async #encode(tokens: ArrayLike<number>): Promise<EncodedText> {
    const { vocabulary } = this.#model.sizes;
    const text = Array.from(tokens);
    const n = text.length;
    if (n === 0) throw new LinnetError('INPUT', 'the text to read is empty; give at least one token');
    for (const token of text) {
      if (Number.isInteger(token) && token >= 0 && token < vocabulary) continue;
      throw new LinnetError('INPUT', `token ${token} is outside the vocabulary of ${vocabulary}`);
    }
    const length = this.#programs.lengthFor(n);
    if (length === undefined) {
      const { longest, remedy = 'cut it' } = this.#programs;
      throw new LinnetError(
        'INPUT',
        `a text of ${n} tokens is longer than the ${longest} that the encoder reads; ${remedy}`,
      );
    }
    const program = await this.#program(length);
    const ids = new Int32Array(length).fill(this.#model.padId);
    ids.set(text);
    const { decoder } = this.#model;
    const { cross } = decoder;
    const layers = (cross?.mixers ?? []).map((_, layer) =>
      cross === undefined ? [] : Object.entries(crossShapes(cross, decoder, layer)),
    );
    const outputs = layers.flatMap((shapes, layer) => shapes.map(([name]) => `cross.${layer}.${name}`));
    const feeds: Record<string, Tensor> = { tokens: int32([1, length], ids) };
    // Mixers that read padding need no mask.
    if (program.inputs.has('mask')) feeds.mask = float32([1, length], new Float32Array(length).fill(1, 0, n));
    const results = await program.run(feeds, outputs);
    return {
      tokens: Int32Array.from(text),
      layers: layers.map((shapes, layer) =>
        Object.fromEntries(
          shapes.map(([name, shape]) => {
            const result = results[`cross.${layer}.${name}`];
            const memory = float32(result.shape.slice(1), dataOf(result, 'float32'));
            return [name, firstOf(memory, shape.indexOf('m'), n)];
          }),
        ),
      ),
    };
  }

  async #program(length: number): Promise<Program> {
    const program = this.#compiled.get(length) ?? (await this.#programs.compile(length));
    this.#compiled.delete(length); // moves the last one used to the end
    this.#compiled.set(length, program);
    for (const [other, unused] of this.#compiled) {
      if (this.#compiled.size <= keptPrograms) break;
      this.#compiled.delete(other);
      await unused.dispose();
    }
    return program;
  }

  /** Frees the compiled graphs. Not while a step runs. */
  async dispose(): Promise<void> {
    await this.#turn;
    for (const program of this.#compiled.values()) await program.dispose();
    this.#compiled.clear();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/** The first `count` entries along an axis, without padding. Returns the tensor itself if it lacks the axis. */
function firstOf(value: Tensor<'float32'>, axis: number, count: number): Tensor<'float32'> {
  if (axis < 0 || value.shape[axis] === count) return value;
  const shape = value.shape.with(axis, count);
  return float32(shape, resizedMatrices(value.data, elementCount(shape.slice(0, axis)), elementCount(shape)));
}
