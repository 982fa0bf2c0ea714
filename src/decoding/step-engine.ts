/**
 * Runs the step graph for one or many sessions: decode steps, prompt chunks and tree verification are all `step`
 * followed by `commit`. Every sequence of a batch has its own tree, length and masks.
 */
import { fillMasks, horizonOf, makeMaskBuffers, type MaskBuffers, type TreeRule } from '../attention/masks.ts';
import { chain, maxTreeNodes, type TokenTree } from '../attention/tree.ts';
import { LinnetError } from '../errors.ts';
import { dataOf, type Tensor, tensor } from '../graph/tensor.ts';
import type { CausalModel } from '../models/model.ts';
import { layerSumsShape, stateLayout } from '../models/step-graph.ts';
import type { Program } from '../runtime/program.ts';
import { commitRows, type FoldPrograms, type NewRows } from './state/commit.ts';
import { eventLoopTurn } from './event-loop.ts';
import { placeFeeds, projectedFeeds } from './state/projected-feeds.ts';
import { SequenceState } from './state/sequence-state.ts';

/** One sequence's part in a step. */
export interface StepRequest {
  readonly state: SequenceState;
  /** The nodes; node a stands at position `state.length` + its depth. */
  readonly tree: TokenTree;
  /** Token of every node. */
  readonly tokens: ArrayLike<number>;
  /** Nodes whose logits are wanted. */
  readonly wanted: readonly number[];
  /** By which rule the nodes see the text and each other. Default: exactly; others are for ablations. */
  readonly rule?: TreeRule;
}

/** What a step says about one sequence. */
export interface StepOutput {
  /** Logits [V] of each wanted node, in the order asked for. Views of one buffer. */
  readonly logits: readonly Float32Array[];
  /** Hidden state after the final norm [width] of each wanted node. */
  readonly hidden: readonly Float32Array[];
  /** The keys and values of all nodes, for `commit`. */
  readonly rows: NewRows;
}

/** The weights to run with: those for prompts, where an engine has such, or those that decode. */
export type StepWeights = 'prompt' | 'step';

/** Prompt tokens per step: enough rows for fast products, few enough for small masks. */
export const promptChunk = 128;

/**
 * A compiled model that decodes, wherever its programs come from: `DecodingEngine.create` compiles them, an exported
 * model brings them along. `dispose` of it.
 */
export class StepEngine implements AsyncDisposable {
  readonly model: CausalModel;
  readonly #program: Program;
  readonly #prompt: Program;
  readonly #folds: FoldPrograms;
  #buffers = new Map<string, MaskBuffers>();
  /** The step under way: steps share mask buffers, which must not change while the program reads them. */
  #turn: Promise<unknown> = Promise.resolve();

  /**
   * @param program the model's step graph
   * @param folds its fold graphs, by the name that `foldClasses` gives them
   * @param options.prompt the step graph with other weights, for prompts alone: everything else, token trees and single
   *   tokens, runs with the weights of `program`, so that verifying a token gives what reading it by itself gives.
   *   Default: `program`
   */
  constructor(
    model: CausalModel,
    program: Program,
    folds: FoldPrograms,
    { prompt = program }: { readonly prompt?: Program } = {},
  ) {
    this.model = model;
    this.#program = program;
    this.#prompt = prompt;
    this.#folds = folds;
  }

  /** The compiled step graph that decodes, for measurements. */
  get program(): Program {
    return this.#program;
  }

  /** An empty state. */
  newState(): SequenceState {
    return new SequenceState(this.model);
  }

  /**
   * Runs the nodes of all sequences in one pass. States are only read, when the step's turn comes: steps that are asked
   * for at the same time run one after the other.
   *
   * @param weights of an engine that has others for prompts: which of them. Default: those of steps
   * @throws LinnetError `INPUT` for no sequences, tokens outside the vocabulary, nodes that do not exist, or positions
   *   beyond those the model has; `MISMATCH` for the state of another model
   */
  step(requests: readonly StepRequest[], weights: StepWeights = 'step'): Promise<StepOutput[]> {
    const program = weights === 'prompt' ? this.#prompt : this.#program;
    const step = this.#turn.then(() => this.#run(program, requests));
    this.#turn = step.catch(() => undefined);
    return step;
  }

  async #run(program: Program, requests: readonly StepRequest[]): Promise<StepOutput[]> {
    if (requests.length === 0) throw new LinnetError('INPUT', 'a step needs at least one sequence');
    for (const { state } of requests) this.#checkState(state);
    const { width, vocabulary } = this.model.sizes;
    const B = requests.length;
    const T = Math.max(...requests.map(({ tree }) => tree.size));
    const feeds = {
      ...this.#nodeFeeds(requests, B, T),
      ...this.#maskFeeds(requests, B, T),
      ...this.#stateFeeds(requests),
      ...(this.#shifts ? this.#shiftFeeds(requests, B, T) : {}),
    };
    const outputs = ['logits', 'hidden', 'rows', ...(this.#shifts ? ['shifts'] : [])];
    const results = await program.run(feeds, outputs);
    const logits = dataOf(results.logits, 'float32');
    const hidden = dataOf(results.hidden, 'float32');
    const rows = dataOf(results.rows, 'float32');
    const shifts = this.#shifts ? dataOf(results.shifts, 'float32') : new Float32Array(0);
    let taken = 0;
    return requests.map(({ state, wanted }, sequence) => {
      const first = taken;
      taken += wanted.length;
      return {
        logits: wanted.map((_, i) => logits.subarray((first + i) * vocabulary, (first + i + 1) * vocabulary)),
        hidden: wanted.map((_, i) => hidden.subarray((first + i) * width, (first + i + 1) * width)),
        rows: { data: rows, shifts, nodes: T, sequence, committed: state.length },
      };
    });
  }

  /**
   * Accepts nodes: a path from a root downwards, whose rows become part of the state.
   * @throws LinnetError `INPUT` if the nodes are not such a path, or the state has changed since the step; `MISMATCH`
   *   for the state of another model
   */
  async commit(request: StepRequest, output: StepOutput, nodes: readonly number[]): Promise<void> {
    const { tree, state } = request;
    this.#checkState(state);
    if (state.length !== output.rows.committed) {
      throw new LinnetError(
        'INPUT',
        `the step saw ${output.rows.committed} committed tokens, the state has ${state.length}; step again`,
      );
    }
    nodes.forEach((node, index) => {
      if (tree.parents[node] !== (index === 0 ? -1 : nodes[index - 1])) {
        throw new LinnetError('INPUT', `nodes ${nodes.join(',')} are not a path from a root of the tree`);
      }
    });
    await commitRows(state, output.rows, nodes, this.#folds);
  }

  /**
   * Reads tokens into a state, in chunks, so that memory does not grow with their number. An engine that has weights for
   * prompts reads them with those.
   *
   * @param options.weights `step` reads with the weights of steps: for texts that grow by a few tokens at a time
   * @returns logits [V] and hidden state [width] of the last token
   * @throws LinnetError `INPUT` if there are no tokens or the chunk is not a size, `ABORTED` when the signal fires
   *   between two chunks; the chunks before it have been read
   */
  async prefill(
    state: SequenceState,
    tokens: ArrayLike<number>,
    options: {
      chunk?: number;
      weights?: StepWeights;
      signal?: AbortSignal;
      onProgress?: (done: number, total: number) => void;
    } = {},
  ): Promise<{ logits: Float32Array; hidden: Float32Array }> {
    const { chunk = promptChunk, weights = 'prompt', signal, onProgress } = options;
    if (tokens.length === 0) throw new LinnetError('INPUT', 'a prompt needs at least one token');
    if (!(Number.isInteger(chunk) && chunk >= 1 && chunk <= maxTreeNodes)) {
      throw new LinnetError('INPUT', `a chunk is 1 to ${maxTreeNodes} tokens, got ${chunk}`);
    }
    for (let start = 0; ; start += chunk) {
      if (signal?.aborted === true)
        throw new LinnetError('ABORTED', `stopped after ${start} of ${tokens.length} prompt tokens`);
      const end = Math.min(tokens.length, start + chunk);
      const part = Int32Array.from({ length: end - start }, (_, i) => tokens[start + i]);
      const tree = this.#chain(part.length);
      const request = { state, tree, tokens: part, wanted: [part.length - 1] };
      const [output] = await this.step([request], weights);
      await this.commit(
        request,
        output,
        Array.from(part, (_, node) => node),
      );
      onProgress?.(end, tokens.length);
      if (end === tokens.length) return { logits: output.logits[0], hidden: output.hidden[0] };
      await eventLoopTurn();
    }
  }

  /** Reads one token. Returns its logits [V] and hidden state [width]. */
  async advance(state: SequenceState, token: number): Promise<{ logits: Float32Array; hidden: Float32Array }> {
    const request = { state, tree: this.#chain(1), tokens: [token], wanted: [0] };
    const [output] = await this.step([request]);
    await this.commit(request, output, [0]);
    return { logits: output.logits[0], hidden: output.hidden[0] };
  }

  async dispose(): Promise<void> {
    for (const program of new Set([this.#program, this.#prompt])) await program.dispose();
    for (const program of this.#folds.values()) await program.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  readonly #chains = new Map<number, TokenTree>();
  #chain(length: number): TokenTree {
    let tree = this.#chains.get(length);
    if (tree === undefined) {
      tree = chain(length);
      this.#chains.set(length, tree);
    }
    return tree;
  }

  #nodeFeeds(requests: readonly StepRequest[], B: number, T: number): Record<string, Tensor> {
    const tokens = new Int32Array(B * T);
    const positions = new Float64Array(B * T);
    const wanted: number[] = [];
    requests.forEach((request, b) => {
      const { tree, state } = request;
      if (request.tokens.length !== tree.size) {
        throw new LinnetError(
          'INPUT',
          `a tree of ${tree.size} nodes needs as many tokens, got ${request.tokens.length}`,
        );
      }
      for (let node = 0; node < tree.size; node++) {
        tokens[b * T + node] = this.#checkedToken(request.tokens[node]);
        positions[b * T + node] = state.length + tree.depths[node];
      }
      for (const node of request.wanted) {
        if (!(Number.isInteger(node) && node >= 0 && node < tree.size))
          throw new LinnetError('INPUT', `node ${node} is not in a tree of ${tree.size}`);
        wanted.push(b * T + node);
      }
    });
    return {
      tokens: tensor('int32', [B, T], tokens),
      wanted: tensor('int32', [wanted.length], Int32Array.from(wanted)),
      ...this.model.positions.at(positions, B, T),
    };
  }

  /** Whether the model gives tokens features of the one before. */
  get #shifts(): boolean {
    return (this.model.sizes.shiftWidth ?? 0) > 0;
  }

  #shiftFeeds(requests: readonly StepRequest[], B: number, T: number): Record<string, Tensor> {
    const { shiftWidth: X = 0 } = this.model.sizes;
    const parents = Int32Array.from({ length: B * T }, (_, i) => i);
    const roots = new Float32Array(B * T).fill(1);
    requests.forEach(({ tree }, b) => {
      for (let node = 0; node < tree.size; node++) {
        if (tree.parents[node] < 0) continue;
        parents[b * T + node] = b * T + tree.parents[node];
        roots[b * T + node] = 0;
      }
    });
    const feeds: Record<string, Tensor> = {
      parents: tensor('int32', [B, T], parents),
      roots: tensor('float32', [B, T, 1], roots),
    };
    this.model.mixers.forEach((_, layer) => {
      const previous = stacked(requests.map(({ state }) => state.layers[layer].previous));
      feeds[`previous.${layer}`] = tensor('float32', [B, 1, X], previous);
    });
    return feeds;
  }

  #checkState(state: SequenceState): void {
    if (state.model === this.model) return;
    throw new LinnetError('MISMATCH', "the state belongs to another model; make it with this engine's newState");
  }

  #checkedToken(token: number): number {
    const { vocabulary } = this.model.sizes;
    if (Number.isInteger(token) && token >= 0 && token < vocabulary) return token;
    throw new LinnetError('INPUT', `token ${token} is outside the vocabulary of ${vocabulary}`);
  }

  #maskFeeds(requests: readonly StepRequest[], B: number, T: number): Record<string, Tensor> {
    const feeds: Record<string, Tensor> = {};
    const [first] = requests;
    for (const name of first.state.slots.keys()) {
      const mixer = this.model.mixers.find((candidate) => stateLayout(candidate).name === name);
      if (mixer === undefined) throw new LinnetError('INTERNAL', `internal: no layer has layout ${name}`);
      const C = Math.max(...requests.map(({ state }) => slotCount(state, name)));
      const buffers = this.#masks(name, B, T, C);
      requests.forEach(({ state, tree, rule }, b) => {
        const slotPositions = padded(state.slots.get(name)?.positions ?? new Int32Array(0), C);
        fillMasks(buffers, b, { slotPositions, tree, committed: state.length, rule }, horizonOf(mixer));
      });
      for (const [block, masks] of [
        ['ring', buffers.ring],
        ['tree', buffers.tree],
      ] as const) {
        this.#feed(feeds, `same.${name}.${block}`, tensor('float32', [B, 1, T, masks.rows], masks.same));
        this.#feed(feeds, `earlier.${name}.${block}`, tensor('float32', [B, 1, T, masks.rows], masks.earlier));
        this.#feed(feeds, `lags.${name}.${block}`, tensor('int32', [B, T, masks.rows], masks.lags));
      }
      if (stateLayout(mixer).projected !== undefined) Object.assign(feeds, placeFeeds(requests, mixer, name, T, C));
    }
    return feeds;
  }

  /** Only what the model's graph reads: a local mixer has no lags, a softmax one no earlier groups. */
  #feed(feeds: Record<string, Tensor>, name: string, value: Tensor): void {
    if (this.#program.inputs.has(name)) feeds[name] = value;
  }

  #masks(name: string, B: number, T: number, C: number): MaskBuffers {
    const key = `${name} ${B} ${T}`;
    const known = this.#buffers.get(key);
    if (known?.ring.rows === C) return known;
    if (this.#buffers.size > 16) this.#buffers = new Map();
    const made = makeMaskBuffers(B, T, C);
    this.#buffers.set(key, made);
    return made;
  }

  #stateFeeds(requests: readonly StepRequest[]): Record<string, Tensor> {
    const { keyValueHeads: M } = this.model.sizes;
    const feeds: Record<string, Tensor> = {};
    const B = requests.length;
    this.model.mixers.forEach((mixer, layer) => {
      const name = stateLayout(mixer).name;
      const C = Math.max(...requests.map(({ state }) => slotCount(state, name)));
      const rows = (pick: 'keys' | 'values'): Tensor => {
        const { width } = requests[0].state.rowLayout.layers[layer][pick];
        const held = requests.map(({ state }) =>
          widened(state.layers[layer][pick], M, slotCount(state, name), C, width),
        );
        return tensor('float32', [B, M, C, width], stacked(held));
      };
      this.#feed(feeds, `keys.${layer}`, rows('keys'));
      this.#feed(feeds, `values.${layer}`, rows('values'));
      if (stateLayout(mixer).projected !== undefined) Object.assign(feeds, projectedFeeds(requests, layer));
      const sums = requests.flatMap(({ state }) => state.layerSums(layer) ?? []);
      const shape = layerSumsShape(this.model, mixer);
      if (shape !== null) this.#feed(feeds, `sums.${layer}`, tensor('float32', [B, M, ...shape], stacked(sums)));
    });
    return feeds;
  }
}

function slotCount(state: SequenceState, layout: string): number {
  return state.slots.get(layout)?.positions.length ?? 0;
}

function padded(positions: Int32Array, count: number): Int32Array {
  if (positions.length === count) return positions;
  const result = new Int32Array(count).fill(-1);
  result.set(positions);
  return result;
}

/** Rows [M,held,D] as [M,slots,D]; the same array where nothing is added. */
function widened(rows: Float32Array, M: number, held: number, slots: number, D: number): Float32Array {
  if (held === slots) return rows;
  const result = new Float32Array(M * slots * D);
  for (let head = 0; head < M; head++)
    result.set(rows.subarray(head * held * D, (head + 1) * held * D), head * slots * D);
  return result;
}

/** Arrays end to end; a single one is not copied. */
function stacked(arrays: readonly Float32Array[]): Float32Array {
  if (arrays.length === 1) return arrays[0];
  const result = new Float32Array(arrays.reduce((total, array) => total + array.length, 0));
  let offset = 0;
  for (const array of arrays) {
    result.set(array, offset);
    offset += array.length;
  }
  return result;
}
