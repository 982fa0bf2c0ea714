/**
 * Runs T5: texts are encoded once, then written about token by token. Where the decoder's mixers have states of constant
 * size, so does the decoder; where cross attention is linear, the length of what is read does not matter either.
 */
import { horizonOf, fillMasks, makeMaskBuffers } from '../attention/masks.ts';
import { groupOf } from '../attention/mixer.ts';
import { chain } from '../attention/tree.ts';
import { LinnetError } from '../errors.ts';
import type { Graph } from '../graph/graph.ts';
import { dataOf, float32, int32, type Tensor, tensor } from '../graph/tensor.ts';
import type { EncoderDecoderModel } from '../models/model.ts';
import { stateLayout } from '../models/step-graph.ts';
import type { T5Model } from '../models/t5/model.ts';
import {
  asT5,
  decoderFoldName,
  decoderLayouts,
  decoderSums,
  foldingMixer,
  memoryTensors,
  t5FoldGraph,
  t5SourceGraph,
  t5StepGraph,
} from '../models/t5/step-graph.ts';
import { relativeBucket } from '../nn/relative-positions.ts';
import { type ParameterSource, WeightParameters } from '../nn/parameters.ts';
import { compile, type CompileOptions, type Program } from '../runtime/compile.ts';
import type { ProjectedRows } from './state/projected-rows.ts';
import { joinMemories, T5State, type TextMemory } from './t5-state.ts';

/** Texts are padded to one of a few lengths, from this on by doubling, so that few graphs are compiled. */
const shortestText = 32;
/** Compiled encoders that are kept, one per length. */
const keptEncoders = 3;

/** A compiled T5 that writes. Make it with `create`; `dispose` of it. */
export class T5Decoder implements AsyncDisposable {
  readonly model: T5Model;
  readonly #parameters: ReadonlyMap<string, Tensor>;
  readonly #options: CompileOptions | undefined;
  readonly #encoders = new Map<number, Program>();
  /** By W. */
  readonly #steps = new Map<number, Program>();
  readonly #folds = new Map<string, Program>();

  private constructor(model: T5Model, parameters: ReadonlyMap<string, Tensor>, options: CompileOptions | undefined) {
    this.model = model;
    this.#parameters = parameters;
    this.#options = options;
  }

  /**
   * Graphs are compiled when they are first used: the encoder per length of text, the decoder per number of beams.
   * @throws LinnetError `CONFIG` for a model that is not T5
   */
  static async create(
    model: EncoderDecoderModel,
    parameters: ReadonlyMap<string, Tensor>,
    options?: CompileOptions,
  ): Promise<T5Decoder> {
    const decoder = new T5Decoder(asT5(model), parameters, options);
    for (const [layer, mixer] of decoder.model.config.mixers.decoder.entries()) {
      const folding = foldingMixer(mixer);
      if (folding === undefined) continue;
      const name = decoderFoldName(folding, layer);
      if (decoder.#folds.has(name)) continue;
      const fold = t5FoldGraph(decoder.model, layer, (graph) => new WeightParameters(graph, parameters));
      decoder.#folds.set(name, await compile(fold, options));
    }
    return decoder;
  }

  /**
   * Reads texts. Their hypotheses have read nothing yet: the first step is that of the start token.
   * @param texts token ids, each with its EOS
   * @param beams W, hypotheses per text
   * @throws LinnetError `INPUT` for no texts, an empty one, or tokens outside the vocabulary
   */
  async read(texts: readonly ArrayLike<number>[], beams = 1): Promise<T5State> {
    if (texts.length === 0) throw new LinnetError('INPUT', 'there is no text to read');
    if (!(Number.isInteger(beams) && beams >= 1))
      throw new LinnetError('INPUT', `beams is ${beams}, expected 1 or more`);
    const memories: TextMemory[] = [];
    for (const text of texts) memories.push(await this.#memory(text));
    return new T5State(this.model.config, joinMemories(this.model.config, memories), texts.length, beams);
  }

  async #memory(text: ArrayLike<number>): Promise<TextMemory> {
    if (text.length === 0) throw new LinnetError('INPUT', 'a text to read needs at least one token');
    const { config } = this.model;
    let length = shortestText;
    while (length < text.length) length *= 2;
    const tokens = new Int32Array(length).fill(config.padId);
    const mask = new Float32Array(length);
    for (let i = 0; i < text.length; i++) {
      tokens[i] = this.#checkedToken(text[i]);
      mask[i] = 1;
    }
    const program = await this.#encoder(length);
    const feeds = { tokens: int32([1, length], tokens), mask: float32([1, length], mask) };
    const results = await program.run(feeds, [...program.outputs.keys()]);
    return config.mixers.cross.map((mixer, layer) =>
      Object.fromEntries(
        memoryTensors(mixer).map((name) => {
          const value = results[`cross.${layer}.${name}`];
          return [name, tensor('float32', value.shape, dataOf(value, 'float32'))];
        }),
      ),
    );
  }

  async #encoder(length: number): Promise<Program> {
    let program = this.#encoders.get(length);
    this.#encoders.delete(length);
    program ??= await this.#compile((source) => t5SourceGraph(this.model, length, source));
    this.#encoders.set(length, program);
    for (const [old, unused] of this.#encoders) {
      if (this.#encoders.size <= keptEncoders) break;
      this.#encoders.delete(old);
      await unused.dispose();
    }
    return program;
  }

  /** Lets every hypothesis read a token. @returns logits [V] of what follows, per hypothesis; views of one buffer */
  async step(state: T5State, tokens: ArrayLike<number>): Promise<Float32Array[]> {
    if (state.config !== this.model.config) {
      throw new LinnetError('MISMATCH', "the state belongs to another model; make it with this decoder's read");
    }
    const { vocabulary } = this.model.sizes;
    const B = state.hypotheses;
    if (tokens.length !== B)
      throw new LinnetError('INPUT', `${B} hypotheses need as many tokens, got ${tokens.length}`);
    const read = Int32Array.from(tokens, (token) => this.#checkedToken(token));
    let program = this.#steps.get(state.beams);
    program ??= await this.#compile((source) => t5StepGraph(this.model, state.beams, source));
    this.#steps.set(state.beams, program);
    state.grow();
    const feeds = { tokens: int32([B, 1], read), ...this.#layoutFeeds(state), ...stateFeeds(state) };
    const live = Object.fromEntries(Object.entries(feeds).filter(([name]) => program.inputs.has(name)));
    const results = await program.run(live, ['logits', 'rows']);
    await this.#commit(state, dataOf(results.rows, 'float32'));
    const logits = dataOf(results.logits, 'float32');
    return Array.from({ length: B }, (_, b) => logits.subarray(b * vocabulary, (b + 1) * vocabulary));
  }

  /** What a token at the next position sees in each layout. */
  #layoutFeeds(state: T5State): Record<string, Tensor> {
    const { config } = this.model;
    const scheme = { buckets: config.buckets, farthest: config.farthest, causal: true };
    const feeds: Record<string, Tensor> = {};
    for (const { name } of decoderLayouts(config)) {
      const layer = config.mixers.decoder.findIndex((mixer) => stateLayout(mixer).name === name);
      const { slots: C, projected } = state.layers[layer];
      const positions = slotPositions(state.length, C);
      const masks = makeMaskBuffers(1, 1, C);
      const step = { slotPositions: positions, tree: chain(1), committed: state.length };
      fillMasks(masks, 0, step, horizonOf(config.mixers.decoder[layer]));
      feeds[`same.${name}`] = tensor('float32', [1, 1, 1, C], masks.ring.same);
      feeds[`earlier.${name}`] = tensor('float32', [1, 1, 1, C], masks.ring.earlier);
      feeds[`lags.${name}`] = tensor('int32', [1, 1, C], masks.ring.lags);
      const buckets = positions.map((position) => (position < 0 ? 0 : relativeBucket(state.length - position, scheme)));
      feeds[`buckets.${name}`] = tensor('int32', [C], buckets);
      if (projected === undefined) continue;
      const held = new Float32Array(memoryRows(projected)).fill(1, 0, projected.count);
      feeds[`held.${name}`] = tensor('float32', [1, 1, 1, held.length], held);
    }
    return feeds;
  }

  /** Writes the rows [2·L,B,H,D] of a step into the state, and folds groups that have closed. */
  async #commit(state: T5State, rows: Float32Array): Promise<void> {
    const { heads: H, headWidth: D, mixers } = this.model.config;
    const heads = state.hypotheses * H;
    const position = state.length;
    state.layers.forEach((layer, i) => {
      const slot = position % layer.slots;
      const write = (target: Float32Array, plane: number): void => {
        for (let head = 0; head < heads; head++) {
          const from = (plane * heads + head) * D;
          target.set(rows.subarray(from, from + D), (head * layer.slots + slot) * D);
        }
      };
      write(layer.keys, 2 * i);
      write(layer.values, 2 * i + 1);
    });
    state.length++;
    for (const [i, layer] of state.layers.entries()) {
      const mixer = foldingMixer(mixers.decoder[i]);
      if (mixer === undefined) continue;
      const G = groupOf(mixer);
      if (state.length % G !== 0) continue;
      const program = this.#folds.get(decoderFoldName(mixer, i));
      if (program === undefined) throw new LinnetError('INTERNAL', `internal: layer ${i} has no fold`);
      const shape = [state.hypotheses, H, G, D];
      const sumsShape = decoderSums(this.model.config, mixer);
      const { folded } = await program.run(
        {
          keys: float32(shape, lastRows(layer.keys, heads, layer.slots, D, state.length, G)),
          values: float32(shape, lastRows(layer.values, heads, layer.slots, D, state.length, G)),
          ...(layer.sums !== undefined &&
            sumsShape !== null && { sums: tensor('float32', [state.hypotheses, H, ...sumsShape], layer.sums) }),
        },
        ['folded'],
      );
      if (layer.projected === undefined) layer.sums = dataOf(folded, 'float32');
      else layer.projected.append(dataOf(folded, 'float32'));
    }
  }

  #checkedToken(token: number): number {
    const { vocabulary } = this.model.sizes;
    if (Number.isInteger(token) && token >= 0 && token < vocabulary) return token;
    throw new LinnetError('INPUT', `token ${token} is outside the vocabulary of ${vocabulary}`);
  }

  #compile(make: (source: (graph: Graph) => ParameterSource) => Graph): Promise<Program> {
    return compile(
      make((graph) => new WeightParameters(graph, this.#parameters)),
      this.#options,
    );
  }

  async dispose(): Promise<void> {
    for (const programs of [this.#encoders, this.#steps, this.#folds]) {
      for (const program of programs.values()) await program.dispose();
      programs.clear();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

function stateFeeds(state: T5State): Record<string, Tensor> {
  const { heads: H, headWidth: D } = state.config;
  const B = state.hypotheses;
  const feeds: Record<string, Tensor> = {};
  state.layers.forEach(({ keys, values, sums, slots, projected }, i) => {
    feeds[`keys.${i}`] = tensor('float32', [B, H, slots, D], keys);
    feeds[`values.${i}`] = tensor('float32', [B, H, slots, D], values);
    const shape = decoderSums(state.config, state.config.mixers.decoder[i]);
    if (sums !== undefined && shape !== null) feeds[`sums.${i}`] = tensor('float32', [B, H, ...shape], sums);
    if (projected === undefined) return;
    const P = memoryRows(projected);
    feeds[`memory.keys.${i}`] = tensor('float32', [B, H, P, D], projected.padded('keys', P));
    feeds[`memory.values.${i}`] = tensor('float32', [B, H, P, D], projected.padded('values', P));
  });
  state.memory.forEach((tensors, i) => {
    for (const [name, value] of Object.entries(tensors)) feeds[`cross.${i}.${name}`] = value;
  });
  return feeds;
}

/** Rows of a memory as a step reads it: at least one, so that no tensor is empty. */
function memoryRows({ capacity }: ProjectedRows): number {
  return Math.max(1, capacity);
}

/** The position that each slot holds when L tokens have been read: the last one ≡ slot mod C; −1 for none. */
function slotPositions(length: number, slots: number): Int32Array {
  return Int32Array.from({ length: slots }, (_, slot) => {
    if (slot >= length) return -1;
    return slot + slots * Math.floor((length - 1 - slot) / slots);
  });
}

/** The rows of the last `count` positions before `length`, in order: [heads,count,D]. */
function lastRows(
  rows: Float32Array,
  heads: number,
  slots: number,
  D: number,
  length: number,
  count: number,
): Float32Array {
  const result = new Float32Array(heads * count * D);
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < count; i++) {
      const from = (head * slots + ((length - count + i) % slots)) * D;
      result.set(rows.subarray(from, from + D), (head * count + i) * D);
    }
  }
  return result;
}
