/**
 * Decoding with FLASH: its state and the program that advances it. Cost and memory per token do not depend on how many
 * tokens have been read.
 */
import { LinnetError } from '../errors.ts';
import { dataOf, float32, int32, type Tensor } from '../graph/tensor.ts';
import { type FlashConfig, flashValueWidth } from '../models/flash/config.ts';
import { FlashPositions } from '../models/flash/model.ts';
import { biasBucket } from '../models/flash/relative-bias.ts';
import { flashFoldGraph, flashReach, flashRing, flashStepGraph } from '../models/flash/step-graph.ts';
import { WeightParameters } from '../nn/parameters.ts';
import { type CompileOptions, compile, type Program } from '../runtime/compile.ts';

/** What one layer remembers. The row of position p is in slot p mod C. */
interface FlashLayerState {
  /** [D/2]: the half of the last token's features that the next one is given. */
  readonly shift: Float32Array;
  /** [C,S] */
  readonly localKeys: Float32Array;
  /** [C,S] */
  readonly globalKeys: Float32Array;
  /** [C,E] */
  readonly values: Float32Array;
  /** [S,E] */
  sums: Float32Array;
}

/** What a sequence remembers: the open group, the reach of the convolution, one matrix for all closed groups. */
export class FlashState {
  readonly config: FlashConfig;
  /** Tokens read. */
  length = 0;
  readonly layers: readonly FlashLayerState[];

  constructor(config: FlashConfig) {
    const { dim: D, query_key_dim: S, depth } = config;
    const E = flashValueWidth(config);
    const C = flashRing(config);
    this.config = config;
    this.layers = Array.from({ length: depth }, () => ({
      shift: new Float32Array(D / 2),
      localKeys: new Float32Array(C * S),
      globalKeys: new Float32Array(C * S),
      values: new Float32Array(C * E),
      sums: new Float32Array(S * E),
    }));
  }

  /** Bytes of the numbers held; constant. */
  get bytes(): number {
    let total = 0;
    for (const { shift, localKeys, globalKeys, values, sums } of this.layers) {
      for (const { byteLength } of [shift, localKeys, globalKeys, values, sums]) total += byteLength;
    }
    return total;
  }

  /** An independent copy: two continuations of one text. */
  fork(): FlashState {
    const copy = new FlashState(this.config);
    copy.length = this.length;
    this.layers.forEach((layer, i) => {
      const target = copy.layers[i];
      target.shift.set(layer.shift);
      target.localKeys.set(layer.localKeys);
      target.globalKeys.set(layer.globalKeys);
      target.values.set(layer.values);
      target.sums = layer.sums.slice();
    });
    return copy;
  }
}

/** A compiled FLASH model that decodes. Make it with `create`; `dispose` of it. */
export class FlashDecoder implements AsyncDisposable {
  readonly config: FlashConfig;
  readonly #program: Program;
  readonly #fold: Program | undefined;
  readonly #positions: FlashPositions;

  private constructor(config: FlashConfig, program: Program, fold: Program | undefined) {
    this.config = config;
    this.#program = program;
    this.#fold = fold;
    this.#positions = new FlashPositions(config);
  }

  /** Compiles the step. @throws LinnetError `CONFIG` for configurations without a recurrent form */
  static async create(
    config: FlashConfig,
    parameters: ReadonlyMap<string, Tensor>,
    options?: CompileOptions,
  ): Promise<FlashDecoder> {
    const graph = flashStepGraph(config, (target) => new WeightParameters(target, parameters));
    const program = await compile(graph, options);
    return new FlashDecoder(
      config,
      program,
      config.global ? await compile(flashFoldGraph(config), options) : undefined,
    );
  }

  /** An empty state. */
  newState(): FlashState {
    return new FlashState(this.config);
  }

  /**
   * Reads one token. A state must not be advanced twice at the same time.
   * @returns logits [V] of the next token
   * @throws LinnetError `INPUT` for a token outside the vocabulary, `MISMATCH` for the state of another model
   */
  async advance(state: FlashState, token: number): Promise<Float32Array> {
    const { vocab_size: V, group_size: G } = this.config;
    if (state.config !== this.config) {
      throw new LinnetError('MISMATCH', "the state belongs to another model; make it with this decoder's newState");
    }
    if (!(Number.isInteger(token) && token >= 0 && token < V)) {
      throw new LinnetError('INPUT', `token ${token} is outside the vocabulary of ${V}`);
    }
    // A group is folded just before the next one opens, so that its last token still sees it as its own. The state
    // changes only at the end: a step that fails can be repeated.
    const opens = state.length > 0 && state.length % G === 0;
    const sums = opens ? await this.#foldedSums(state) : state.layers.map((layer) => layer.sums);
    const feeds = {
      tokens: int32([1, 1], [token]),
      ...this.#positions.at([state.length], 1, 1),
      ...rowPlaces(this.config, state.length),
      ...this.#stateFeeds(state, sums),
    };
    const given = Object.fromEntries(Object.entries(feeds).filter(([name]) => this.#program.inputs.has(name)));
    const results = await this.#program.run(given, [...this.#program.outputs.keys()]);
    this.#remember(state, results);
    state.layers.forEach((layer, i) => {
      layer.sums = sums[i];
    });
    state.length++;
    return dataOf(results.logits, 'float32');
  }

  async dispose(): Promise<void> {
    await this.#program.dispose();
    await this.#fold?.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #stateFeeds(state: FlashState, sums: readonly Float32Array[]): Record<string, Tensor> {
    const { dim: D, query_key_dim: S } = this.config;
    const E = flashValueWidth(this.config);
    const C = flashRing(this.config);
    const feeds: Record<string, Tensor> = {};
    state.layers.forEach(({ shift, localKeys, values }, i) => {
      feeds[`shift.${i}`] = float32([1, 1, D / 2], shift);
      feeds[`keys.${i}`] = float32([C, S], localKeys);
      feeds[`values.${i}`] = float32([C, E], values);
      feeds[`sums.${i}`] = float32([S, E], sums[i]);
    });
    return feeds;
  }

  /** Writes the token's rows into their slots. */
  #remember(state: FlashState, results: Readonly<Record<string, Tensor>>): void {
    const { dim: D, query_key_dim: S, shift_tokens } = this.config;
    const E = flashValueWidth(this.config);
    const slot = state.length % flashRing(this.config);
    const row = (name: string, layer: number, width: number): Float32Array =>
      dataOf(results[name], 'float32').subarray(layer * width, (layer + 1) * width);
    state.layers.forEach(({ shift, localKeys, globalKeys, values }, i) => {
      if (shift_tokens) shift.set(row('shifts', i, D / 2));
      localKeys.set(row('localKeys', i, S), slot * S);
      globalKeys.set(row('globalKeys', i, S), slot * S);
      values.set(row('values', i, E), slot * E);
    });
  }

  /** The sums of all layers with the group that has closed. */
  async #foldedSums(state: FlashState): Promise<Float32Array[]> {
    if (this.#fold === undefined) return state.layers.map(({ sums }) => sums);
    const { query_key_dim: S, group_size: G } = this.config;
    const E = flashValueWidth(this.config);
    const C = flashRing(this.config);
    const slots = Array.from({ length: G }, (_, i) => (state.length - G + i) % C);
    const folded: Float32Array[] = [];
    for (const { globalKeys, values, sums } of state.layers) {
      const results = await this.#fold.run(
        {
          keys: float32([G, S], pickRows(globalKeys, slots, S)),
          values: float32([G, E], pickRows(values, slots, E)),
          sums: float32([S, E], sums),
        },
        ['folded'],
      );
      folded.push(dataOf(results.folded, 'float32'));
    }
    return folded;
  }
}

function pickRows(rows: Float32Array, slots: readonly number[], width: number): Float32Array {
  const picked = new Float32Array(slots.length * width);
  slots.forEach((slot, i) => {
    picked.set(rows.subarray(slot * width, (slot + 1) * width), i * width);
  });
  return picked;
}

/** Masks of the kept rows for a token at `position`; the last column is the token itself. */
function rowPlaces(config: FlashConfig, position: number): Record<'same' | 'buckets' | 'lags', Tensor> {
  const C = flashRing(config);
  const reach = flashReach(config);
  const same = new Float32Array(C + 1);
  const buckets = new Int32Array(C + 1);
  const lags = new Int32Array(C + 1).fill(reach + 1);
  for (let distance = 0; distance <= Math.min(C, position); distance++) {
    const column = distance === 0 ? C : (position - distance) % C;
    if (distance <= position % config.group_size) same[column] = 1;
    buckets[column] = biasBucket(distance, true);
    if (distance <= reach) lags[column] = distance;
  }
  return { same: float32([1, C + 1], same), buckets: int32([C + 1], buckets), lags: int32([C + 1], lags) };
}
