/**
 * Runs the step graph for one or many sessions: decode steps, prompt chunks and tree verification are all `step` followed by
 * `commit`. Each sequence of a batch has its own tree, length and masks.
 */
import { openBlock } from '../attention/masks.ts';
import { chain, maxTreeNodes } from '../attention/tree.ts';
import { LinnetError, requireRunning } from '../errors.ts';
import { dataOf, type Tensor } from '../graph/tensor.ts';
import type { AutoregressiveModel } from '../models/model.ts';
import { type ModelLayout, modelLayout } from '../models/graphs/model-layout.ts';
import { finalRowsName, formsOfGraph } from '../models/graphs/step-graph.ts';
import { eventLoopTurn, type Program } from '../runtime/program.ts';
import { runAcrossFolds } from './fold-crossing.ts';
import { commitRows, type FoldPrograms, type NewRows } from './state/commit.ts';
import { finalOutputs, LaterSums } from './state/later-sums.ts';
import { type EncodedText, SequenceState } from './state/sequence-state.ts';
import { StepFeeds, type StepRequest } from './state/step-feeds.ts';
import type { SourceEncoder } from './source-encoder.ts';

export type { StepRequest };

/** A step's outputs for one sequence. */
export interface StepOutput {
  /** Logits [V] of each wanted node, in the requested order. Views of one buffer. */
  readonly logits: readonly Float32Array[];
  /** Hidden state after the final norm [width] of each wanted node. */
  readonly hidden: readonly Float32Array[];
  /** The keys and values of all nodes, for `commit`. */
  readonly rows: NewRows;
}

/** The weights to run with: for prompts, if an engine has separate ones, or for decoding. */
export type StepWeights = 'prompt' | 'step';

/** Prompt tokens per step unless a layer wants fewer: enough rows for fast products, few enough for small masks. */
const usualChunk = 128;
/** Positions by which caches grow for a prompt: for every other cache size the runtime plans its memory anew. */
const promptGrowth = 256;
/**
 * Equal numbers, over at least two steps, after which single rows count as summed like rows in company. A product in another order
 * changes most numbers of the layers behind it; the last product, which may differ only at its end, is seen twice.
 */
const manyNumbers = 2 ** 12;

/** How to read tokens into a state. */
export interface ReadOptions {
  /** Tokens per step. Default: the engine's `promptChunk`. */
  readonly chunk?: number;
  /** `step` reads with the decoding weights: for texts that grow a few tokens at a time. Default `prompt`. */
  readonly weights?: StepWeights;
  /** Stops reading between two chunks. */
  readonly signal?: AbortSignal;
}

/** A run's results for T nodes per sequence, with `count` wanted nodes, and rows for only the last `final` ones, or for all if 0. */
interface StepResults {
  readonly results: Readonly<Record<string, Tensor>>;
  readonly sequences: number;
  readonly nodes: number;
  readonly count: number;
  readonly final: number;
}

/** Programs that an engine may have besides the step graph. */
export interface EnginePrograms {
  /**
   * The step graph with other weights, only for prompts: token trees and single tokens run with the decoding weights, so that
   * verifying a token equals reading it alone. Default: the step graph.
   */
  readonly prompt?: Program;
  /** Encodes a text that is read before another is generated; required for encoder-decoder models. */
  readonly encoder?: SourceEncoder;
  /** Whether the kernels sum in order (`deviceAddsInOrder`); otherwise bits differ. Default: they do. */
  readonly addsInOrder?: () => Promise<boolean>;
}

/** A compiled model that decodes, from `DecodingEngine.create` or an export. Call `dispose` when done. */
export class StepEngine implements AsyncDisposable {
  /** The graphs' model. */
  readonly model: AutoregressiveModel;
  /** Where each layer's state is. */
  readonly layout: ModelLayout;
  /** Prompt tokens per step that read fastest. */
  readonly promptChunk: number;
  /**
   * Whether a token has the same bits alone, in a tree, among other texts, and however the text before it was read, if trees and
   * chunks stay within `room`. Otherwise equal up to rounding. A process's first call asks the kernels (15 ms).
   */
  readonly sameBits: () => Promise<boolean>;
  readonly #programs: Readonly<Record<StepWeights, Program>>;
  /** Equal numbers so far in single rows and rows in company; -1 once one differed. */
  readonly #equalNumbers: Record<StepWeights, number>;
  readonly #folds: FoldPrograms;
  /** The encoder of an encoder-decoder. */
  readonly encoder: SourceEncoder | undefined;
  readonly #feeds: Readonly<Record<StepWeights, StepFeeds>>;
  /** The step graph's outputs. */
  readonly #outputs: readonly string[];
  /** Absent if no layer replays rows. */
  readonly #laterSums: LaterSums | undefined;
  /** The step in progress: steps share mask buffers, which must not change while the program reads them. */
  #turn: Promise<unknown> = Promise.resolve();

  /**
   * @param program the model's step graph
   * @param folds its fold graphs, by fold-class name
   * @param layout the model's layout, if already made
   */
  constructor(
    model: AutoregressiveModel,
    program: Program,
    folds: FoldPrograms,
    { prompt = program, encoder, addsInOrder = async () => true }: EnginePrograms = {},
    layout: ModelLayout = modelLayout(model, formsOfGraph(program)),
  ) {
    this.model = model;
    this.layout = layout;
    this.sameBits = async () => layout.roundingCause === undefined && (await addsInOrder());
    const chunks = layout.layers.map(({ form }) => form.promptChunk ?? usualChunk);
    this.promptChunk = Math.min(usualChunk, ...chunks, ...layout.boundaries.map((every) => Math.max(every, openBlock)));
    this.#programs = { step: program, prompt };
    const equal = layout.boundaries.length === 0 ? manyNumbers : 0;
    this.#equalNumbers = { step: equal, prompt: equal };
    this.#folds = folds;
    this.encoder = encoder;
    const shifts = (model.sizes.shiftWidth ?? 0) > 0 ? ['shifts'] : [];
    this.#outputs = ['logits', 'hidden', ...layout.rows.map(({ name }) => name), ...shifts];
    const later = new LaterSums(layout, [program, prompt]);
    this.#laterSums = later.names.size > 0 ? later : undefined;
    this.#feeds = {
      step: new StepFeeds(model, layout, program, 'step'),
      prompt: new StepFeeds(model, layout, prompt, 'prompt'),
    };
  }

  /** The compiled step graph that decodes, for measurements. */
  get program(): Program {
    return this.#programs.step;
  }

  /**
   * An empty state.
   * @param encoded the encoded text, for encoder-decoder models
   * @throws LinnetError `INPUT` for an encoded text that is missing, or given to a model that reads none
   */
  newState(encoded?: EncodedText): SequenceState {
    const { cross, family } = this.model;
    if ((cross === undefined) === (encoded === undefined)) return new SequenceState(this.model, this.layout, encoded);
    const needs = `decoder needs a text to read: give the result of \`encode\``;
    throw new LinnetError('INPUT', `a ${family} ${encoded === undefined ? needs : 'model reads no encoded text'}`);
  }

  /** Whether single tokens are still read twice to compare their bits: a small model's first ones. */
  get comparesBits(): boolean {
    const equal = this.#equalNumbers.step;
    return equal >= 0 && equal < manyNumbers;
  }

  /** Most positions a tree or chunk may take from the end of a text on, and its most nodes. */
  room({ length }: Pick<SequenceState, 'length'>): number {
    let room = maxTreeNodes;
    for (const every of this.layout.boundaries) room = Math.min(room, every - (length % every));
    return room;
  }

  /**
   * Whether a step needs a wanted node: the runtime refuses some products without rows. Prompt chunks without one are read without
   * the head.
   */
  needsOutput(weights: StepWeights): boolean {
    return !this.layout.inPairs || this.#programs[weights] !== this.#programs.step;
  }

  /** Bytes of a new text's state; undefined if they depend on the text that an encoder reads. */
  get stateBytes(): number | undefined {
    return this.model.cross === undefined ? this.newState().bytes : undefined;
  }

  /**
   * Reads a text, for states of encoder-decoder models.
   * @throws LinnetError `INPUT` for an empty or too long text, tokens outside the vocabulary, or a model without an encoder
   */
  encode(tokens: ArrayLike<number>): Promise<EncodedText> {
    if (this.encoder !== undefined) return this.encoder.encode(tokens);
    throw new LinnetError('INPUT', `a ${this.model.family} model has no encoder: it continues its prompt`);
  }

  /**
   * Runs all sequences' nodes in one pass. Only reads states, when the step's turn comes: concurrent steps run one after the other.
   *
   * @param weights which ones, if the engine has others for prompts. Default: decoding weights
   * @throws LinnetError `INPUT` for no sequences, tokens outside the vocabulary, nodes that do not exist, or positions beyond the
   *   model's; `MISMATCH` for another model's state
   */
  step(requests: readonly StepRequest[], weights: StepWeights = 'step'): Promise<StepOutput[]> {
    const step = this.#run(this.#turn, requests, weights);
    this.#turn = step.catch(() => undefined);
    return step;
  }

  async #run(before: Promise<unknown>, asked: readonly StepRequest[], weights: StepWeights): Promise<StepOutput[]> {
    await before;
    if (asked.length === 0) throw new LinnetError('INPUT', 'a step needs at least one sequence');
    let isLong = false;
    for (const { state, tree } of asked) {
      this.#checkState(state);
      isLong ||= tree.size > this.room(state);
    }
    if (!isLong) return await this.#runTogether(asked, weights);
    return await runAcrossFolds(this.layout, asked, (part) => this.#runTogether(part, weights), this.commit.bind(this));
  }

  async #runTogether(asked: readonly StepRequest[], weights: StepWeights): Promise<StepOutput[]> {
    let most = 0;
    for (const { tree } of asked) most = Math.max(most, tree.size);
    const order = asked.length === 1 ? [0] : this.#feeds[weights].arrange(asked);
    const requests = asked.length === 1 ? asked : order.map((index) => asked[index]);
    const equal = this.#equalNumbers[weights];
    const inPairs = equal < manyNumbers;
    const run = await this.#runRows(requests, most, weights, inPairs);
    if (inPairs && equal >= 0 && requests.length * most === 1 && requests[0].wanted.length === 1) {
      const alone = await this.#runRows(requests, most, weights, false);
      const compared = this.#equalOfFirstNode(alone, run);
      this.#equalNumbers[weights] = compared < 0 ? -1 : equal + Math.min(compared, manyNumbers / 2);
    }
    const { results, sequences, nodes: T, count, final } = run;
    const { width, vocabulary, shiftWidth = 0 } = this.model.sizes;
    const nodes = sequences * T;
    // Checks counts: an export's graph may return others than it declares.
    const logits = dataOf(results.logits, 'float32', count * vocabulary);
    const hidden = dataOf(results.hidden, 'float32', count * width);
    const data: Float32Array[] = [];
    for (const { name, heads, width: R } of this.layout.rows) {
      const last = final > 0 ? results[finalRowsName(name)] : undefined;
      data.push(dataOf(last ?? results[name], 'float32', (last === undefined ? nodes : final) * heads * R));
    }
    const shiftCount = nodes * this.model.mixers.length * shiftWidth;
    const shifts = shiftCount > 0 ? dataOf(results.shifts, 'float32', shiftCount) : new Float32Array(0);
    const later = this.#laterSums?.of(results, requests);
    const answers: StepOutput[] = [];
    let taken = 0;
    for (const [sequence, { state, wanted }] of requests.entries()) {
      const rows = { data, shifts, nodes: T, sequence, committed: state.length, later: later?.[sequence] };
      const output = { logits: new Array<Float32Array>(), hidden: new Array<Float32Array>(), rows };
      for (let end = taken + wanted.length; taken < end; taken++) {
        output.logits.push(logits.subarray(taken * vocabulary, (taken + 1) * vocabulary));
        output.hidden.push(hidden.subarray(taken * width, (taken + 1) * width));
      }
      answers[order[sequence]] = output;
    }
    return answers;
  }

  /**
   * Runs the program. If it sums a single row in another order than rows in company (with 4-bit weights in blocks of 64 and 128 the
   * runtime takes rows in pairs), pads to an even number of rows: one more per tree, or a sequence that nothing reads. A single row's
   * first steps tell (`manyNumbers`).
   */
  async #runRows(
    requests: readonly StepRequest[],
    most: number,
    weights: StepWeights,
    inPairs: boolean,
  ): Promise<StepResults> {
    let [rows, products] = [requests, most];
    if (inPairs && (requests.length * most) % 2 === 1) {
      if (requests.length <= most) products++;
      else rows = [...requests, { ...requests[0], wanted: [] }];
    }
    const nodes = this.layout.productRows ? most : products;
    const program = this.#programs[weights];
    const later = this.#laterSums?.outputsOf(requests) ?? [];
    const final = (later.length > 0 && nodes === most && this.#laterSums?.finalRows(rows)) || 0;
    const outputs = final > 0 ? finalOutputs(program, this.#outputs) : this.#outputs;
    const { feeds, kept } = this.#feeds[weights].feeds(rows, nodes, products, inPairs, final);
    const results = await program.run(feeds, [...outputs, ...later], kept);
    return { results, sequences: rows.length, nodes, count: feeds.wanted.data.length, final };
  }

  /** How many bit-equal numbers two runs have for the first node, in logits and rows; -1 if any differ. */
  #equalOfFirstNode(alone: StepResults, paired: StepResults): number {
    const logits = { name: 'logits', heads: 1, width: this.model.sizes.vocabulary };
    let count = 0;
    for (const { name, heads, width } of [logits, ...this.layout.rows]) {
      const one = dataOf(alone.results[name], 'float32');
      const other = dataOf(paired.results[name], 'float32');
      const stride = name === 'logits' ? width : paired.nodes * width;
      for (let head = 0; head < heads; head++) {
        for (let i = 0; i < width; i++) if (!Object.is(one[head * width + i], other[head * stride + i])) return -1;
      }
      count += heads * width;
    }
    return count;
  }

  /**
   * Accepts nodes: a path from a root downwards, whose rows become part of the state.
   * @throws LinnetError `INPUT` if the nodes are not such a path, or the state has changed since the step; `MISMATCH` for another
   *   model's state
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
    let parent = -1;
    for (const node of nodes) {
      if (tree.parents[node] !== parent) {
        throw new LinnetError('INPUT', `nodes ${nodes.join(',')} are not a path from a root of the tree`);
      }
      parent = node;
    }
    if (request.isText === true && nodes.length < tree.size)
      throw new LinnetError('INPUT', `a text of ${tree.size} nodes is committed whole, not ${nodes.length} of them`);
    await commitRows(state, output.rows, nodes, this.#folds);
  }

  /**
   * Reads tokens into a state in chunks, so that memory does not grow with their number. Uses the engine's prompt weights, if any.
   *
   * @returns logits [V] and hidden state [width] of the last token
   * @throws LinnetError `INPUT` if there are no tokens or the chunk is not a size, `ABORTED` when the signal fires between two
   *   chunks; the chunks before it have been read
   */
  async prefill(
    state: SequenceState,
    tokens: ArrayLike<number>,
    { onProgress, ...options }: ReadOptions & { onProgress?: (done: number, total: number) => void } = {},
  ): Promise<{ logits: Float32Array; hidden: Float32Array }> {
    let last: StepOutput | undefined;
    for await (const { output, end } of this.read(state, tokens, options)) {
      onProgress?.(end, tokens.length);
      last = output;
    }
    if (last === undefined) throw new LinnetError('INPUT', 'a prompt needs at least one token');
    return { logits: last.logits[0], hidden: last.hidden[0] };
  }

  /**
   * Reads tokens into a state, yielding each chunk once it is read.
   * @param all whether to output all tokens. Default: the last token, and one of other chunks only if a step needs it (`needsOutput`)
   * @throws LinnetError like `prefill`, except that no tokens give no chunk
   */
  async *read(
    state: SequenceState,
    tokens: ArrayLike<number>,
    { chunk = this.promptChunk, weights = 'prompt', signal }: ReadOptions = {},
    all = false,
  ): AsyncGenerator<{ readonly output: StepOutput; readonly start: number; readonly end: number }, void, undefined> {
    if (!(Number.isInteger(chunk) && chunk >= 1 && chunk <= maxTreeNodes)) {
      throw new LinnetError('INPUT', `a chunk is 1 to ${maxTreeNodes} tokens, got ${chunk}`);
    }
    let end = 0;
    for (let start = 0; start < tokens.length; start = end) {
      if (start > 0) await eventLoopTurn();
      requireRunning(signal, `after ${start} of ${tokens.length} prompt tokens`);
      end = Math.min(tokens.length, start + Math.min(chunk, this.room(state)));
      const part = Array.from({ length: end - start }, (_, i) => tokens[start + i]);
      const nodes = [...part.keys()];
      const ends = end === tokens.length || this.needsOutput(weights);
      const wanted = all ? nodes : nodes.slice(ends ? -1 : part.length);
      const request = { state, tree: chain(part.length), tokens: part, wanted, isText: true };
      const [output] = await this.step([request], weights);
      state.reserve(part.length, Math.min(tokens.length - start, promptGrowth));
      await this.commit(request, output, nodes);
      yield { output, start, end };
    }
  }

  /** Reads one token. Returns its logits [V] and hidden state [width]. */
  async advance(state: SequenceState, token: number): Promise<{ logits: Float32Array; hidden: Float32Array }> {
    // Not through `prefill`, whose stream of chunks takes 16 µs per token.
    const request = { state, tree: chain(1), tokens: [token], wanted: [0] };
    const [output] = await this.step([request]);
    await this.commit(request, output, [0]);
    return { logits: output.logits[0], hidden: output.hidden[0] };
  }

  /** Frees the compiled graphs. Not while a step runs. */
  async dispose(): Promise<void> {
    for (const program of new Set(Object.values(this.#programs))) await program.dispose();
    for (const program of this.#folds.values()) await program.dispose();
    await this.encoder?.dispose();
  }

  /** Same as `dispose`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #checkState(state: SequenceState): void {
    if (state.model === this.model) return;
    throw new LinnetError('MISMATCH', "the state belongs to another model; make it with this engine's newState");
  }
}
