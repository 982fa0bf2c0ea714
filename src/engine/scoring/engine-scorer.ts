/**
 * Evaluation by a decoding engine. A state can be forked, so that what many requests begin with, the examples of a task or
 * the question of several choices, is read once. Requests become a trie of tokens; small subtrees of it, also those of
 * several questions, run as one forest of tokens in one step, which sees each path as if it stood alone.
 */
import { TokenTree } from '../../attention/tree.ts';
import { eventLoopTurn } from '../../decoding/event-loop.ts';
import type { DecodingMethod } from '../../decoding/method.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import type { TextJob } from '../text-job.ts';
import { LinnetError } from '../../errors.ts';
import { textTokens, tokensBefore } from '../../tokenizer/encode-text.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { preparePrompt } from '../prompt.ts';
import { generateTogether } from './generate-together.ts';
import { promptOf } from '../prompt.ts';
import { PrefixStates } from './prefix-states.ts';
import type { GenerateRequest, Score, Scorer, ScoreRequest, ScorerOptions, ScorerUsage } from './scorer.ts';
import { cutAtStops, prefixToken, rollingWindows, scoredSequence, type TokenSequence } from './token-sequences.ts';
import { childrenOf, commonPrefix, type TokenTrie, tokenTrie } from './token-trie.ts';

/** Answers that are generated in the same steps. */
const answeredTogether = 8;
/** Tokens of one step: enough rows for fast products, few enough for masks of their square. */
const stepNodes = 256;
/** Logits of a step, in numbers: 128 MiB. */
const mostLogits = 1 << 25;
/** Shorter prefixes are not kept: reading them again costs less than a fork. */
const shortestPrefix = 32;

export interface EngineScorerOptions {
  readonly engine: StepEngine;
  readonly tokenizer: Tokenizer;
  /** Most tokens the model reads at once. Default: the length that it was trained for. */
  readonly maxLength?: number;
  /** Whether texts begin with BOS. Default: as the tokenizer's files say. */
  readonly bos?: boolean;
  /** Whether whole texts are read in windows of `maxLength` or in one pass, however long. Default: in windows. */
  readonly rollingContext?: 'windows' | 'unlimited';
  /** Whether requests share what they begin with. Default true; false is for measuring what sharing saves. */
  readonly sharing?: boolean;
  /** Makes the decoding method of each answer, such as speculation. Default: token by token. */
  readonly newMethod?: () => DecodingMethod;
}

/** A scorer over an engine, which stays the caller's. */
export class EngineScorer implements Scorer {
  readonly maxLength: number;
  readonly bos: boolean;
  readonly #engine: StepEngine;
  readonly #tokenizer: Tokenizer;
  readonly #bos: 'auto' | boolean;
  readonly #unlimited: boolean;
  readonly #sharing: boolean;
  readonly #prefixes: PrefixStates;
  readonly #nodes: number;
  readonly #newMethod: EngineScorerOptions['newMethod'];
  #read = 0;
  #asked = 0;
  #generated = 0;
  #steps = 0;

  constructor({ engine, tokenizer, maxLength, bos, rollingContext, sharing = true, newMethod }: EngineScorerOptions) {
    this.#engine = engine;
    this.#tokenizer = tokenizer;
    this.maxLength = maxLength ?? engine.model.sizes.trainedLength;
    this.#bos = bos ?? 'auto';
    this.bos = tokensBefore(tokenizer, bos).length > 0;
    this.#unlimited = rollingContext === 'unlimited';
    this.#sharing = sharing;
    this.#newMethod = newMethod;
    this.#prefixes = new PrefixStates(engine);
    this.#nodes = Math.max(1, Math.min(stepNodes, Math.floor(mostLogits / engine.model.sizes.vocabulary)));
  }

  get usage(): ScorerUsage {
    const tokensRead = this.#read + this.#prefixes.tokensRead;
    return { tokensRead, tokensReused: this.#asked - tokensRead, tokensGenerated: this.#generated };
  }

  /** Steps that the generated tokens took: fewer than tokens where a method verifies several at once. */
  get generationSteps(): number {
    return this.#steps;
  }

  async score(requests: readonly ScoreRequest[], options: ScorerOptions = {}): Promise<Score[]> {
    this.#requireContinuing();
    const limits = { bos: this.#bos, maxLength: this.maxLength };
    const sequences = requests.map((request) => scoredSequence(this.#tokenizer, request, limits));
    return this.#scoreSequences(sequences, options);
  }

  async rolling(texts: readonly string[], { signal, onProgress }: ScorerOptions = {}): Promise<number[]> {
    this.#requireContinuing();
    const sums: number[] = [];
    for (const text of texts) {
      const tokens = textTokens(this.#tokenizer, text, { bos: false });
      if (tokens.length === 0) throw new LinnetError('INPUT', 'a text without a token has no likelihood');
      const length = this.#unlimited ? tokens.length : this.maxLength;
      const windows = rollingWindows(tokens, prefixToken(this.#tokenizer), length);
      const scores = await this.#scoreSequences(windows, { signal });
      sums.push(scores.reduce((sum, { logLikelihood }) => sum + logLikelihood, 0));
      onProgress?.(sums.length, texts.length);
    }
    return sums;
  }

  async generate(requests: readonly GenerateRequest[], { signal, onProgress }: ScorerOptions = {}): Promise<string[]> {
    const { readsText } = this.#engine;
    const described = { engine: this.#engine, tokenizer: this.#tokenizer };
    const prompts = requests.map(({ context, maxTokens }) => {
      if (context === '' && !readsText) return [prefixToken(this.#tokenizer)];
      const { source, tokens } = preparePrompt(described, { text: context }, { bos: readsText ? 'auto' : this.#bos });
      // The answer to a source is another text, for which it needs no room.
      return source?.slice(-this.maxLength) ?? tokens.slice(-Math.max(1, this.maxLength - maxTokens));
    });
    const shared = readsText ? 0 : this.#sharedLength(prompts, (prompt) => prompt.length - 1);
    const answers: string[] = [];
    const together = this.#sharing ? answeredTogether : 1;
    for (let first = 0; first < requests.length; first += together) {
      const jobs: TextJob[] = [];
      const own = requests.slice(first, first + together);
      for (const [index, request] of own.entries()) {
        jobs.push(await this.#beginning(request, prompts[first + index], shared, signal));
      }
      let done = first;
      const observer = { ended: () => onProgress?.(++done, requests.length) };
      const generations = await generateTogether(this.#engine, jobs, { tokenizer: this.#tokenizer, signal, observer });
      generations.forEach(({ tokens, steps }, index) => {
        this.#steps += steps;
        this.#generated += tokens.length;
        // The new tokens alone: what a tokenizer drops at the beginning of a text is dropped here too.
        answers.push(cutAtStops(this.#tokenizer.decode(tokens), own[index].until));
      });
    }
    return answers;
  }

  async #beginning(
    { until, maxTokens }: GenerateRequest,
    prompt: readonly number[],
    shared: number,
    signal: AbortSignal | undefined,
  ): Promise<TextJob> {
    this.#asked += prompt.length;
    this.#read += prompt.length - shared;
    const reads = this.#engine.readsText;
    const prefix = reads ? undefined : await this.#prefixes.after(prompt.slice(0, shared), 'prompt', signal);
    return {
      prompt: reads ? { tokens: promptOf(this.#engine.model, []), source: prompt } : { tokens: prompt },
      maxTokens,
      state: prefix?.fork(),
      method: this.#newMethod?.(),
      stop: { strings: until.filter((stop) => stop !== '') },
    };
  }

  /** @throws LinnetError `CONFIG` for a model that reads a text to write another: nothing continues what it has read */
  #requireContinuing(): void {
    const { readsText, model } = this.#engine;
    if (!readsText) return;
    throw new LinnetError(
      'CONFIG',
      `log-likelihoods of continuations are asked of causal models; a ${model.family} model reads a text and writes ` +
        'another: give it tasks whose answers are generated, such as cnn_dailymail, or fine-tune it as a classifier',
    );
  }

  /** Tokens that all lists begin with, at most as many as each allows; 0 where sharing does not pay. */
  #sharedLength<T extends readonly number[]>(lists: readonly T[], most: (list: T) => number): number {
    if (!this.#sharing) return 0;
    const length = Math.min(commonPrefix(lists), ...lists.map(most));
    return length < shortestPrefix ? 0 : length;
  }

  async #scoreSequences(sequences: readonly TokenSequence[], options: ScorerOptions): Promise<Score[]> {
    if (sequences.length === 0) return [];
    const { onProgress } = options;
    const sums = sequences.map(() => ({ logLikelihood: 0, isGreedy: true, left: 0 }));
    sequences.forEach(({ tokens, scored }, index) => {
      sums[index].left = scored;
      this.#asked += tokens.length - 1;
    });
    let done = 0;
    const take: TakeLogits = (sequence, logProbability, isBest) => {
      const sum = sums[sequence];
      sum.logLikelihood += logProbability;
      sum.isGreedy &&= isBest;
      if (--sum.left === 0) onProgress?.(++done, sequences.length);
    };
    if (this.#sharing) await this.#scoreTogether(sequences, take, options.signal);
    else {
      for (const [index, sequence] of sequences.entries()) {
        const alone: TakeLogits = (_, logProbability, isBest) => take(index, logProbability, isBest);
        await this.#scoreTogether([sequence], alone, options.signal);
      }
    }
    return sums.map(({ logLikelihood, isGreedy }) => ({ logLikelihood, isGreedy }));
  }

  async #scoreTogether(sequences: readonly TokenSequence[], take: TakeLogits, signal?: AbortSignal): Promise<void> {
    const starts = new Map(sequences.map(({ tokens, scored }) => [tokens, tokens.length - 1 - scored]));
    const lists = sequences.map(({ tokens }) => tokens);
    const shared = this.#sharedLength(lists, (list) => starts.get(list) ?? 0);
    const state = await this.#prefixes.after(lists[0].slice(0, shared), 'step', signal);
    const trie = tokenTrie(sequences, shared);
    await this.#visit(trie, state, childrenOf(trie, -1), take, signal);
  }

  /** Runs subtrees that continue a state, which is only read. */
  async #visit(
    trie: TokenTrie,
    state: SequenceState,
    roots: readonly number[],
    take: TakeLogits,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    let packed: number[] = [];
    let size = 0;
    const flush = async (): Promise<void> => {
      const nodes = packed.flatMap((root) => range(root, trie.ends[root]));
      packed = [];
      size = 0;
      if (nodes.length > 0) await this.#run(trie, state, nodes, take, signal);
    };
    for (const root of roots) {
      const count = trie.ends[root] - root;
      if (count > this.#nodes) {
        const fork = state.fork();
        const last = await this.#readPath(trie, fork, root, take, signal);
        await this.#visit(trie, fork, childrenOf(trie, last), take, signal);
        continue;
      }
      if (size + count > this.#nodes) await flush();
      packed.push(root);
      size += count;
    }
    await flush();
  }

  /** Reads a path into a state, until it branches or what follows fits one step. Returns its last node. */
  async #readPath(
    trie: TokenTrie,
    state: SequenceState,
    root: number,
    take: TakeLogits,
    signal: AbortSignal | undefined,
  ): Promise<number> {
    let nodes = [root];
    for (let last = root; ; ) {
      const children = childrenOf(trie, last);
      const ends = children.length !== 1 || trie.ends[children[0]] - children[0] <= this.#nodes;
      if (ends || nodes.length === this.#nodes) {
        await this.#run(trie, state, nodes, take, signal, true);
        nodes = [];
      }
      if (ends) return last;
      [last] = children;
      nodes.push(last);
    }
  }

  /** One step over nodes of the trie. @param commit whether they are a path that becomes part of the state */
  async #run(
    trie: TokenTrie,
    state: SequenceState,
    nodes: readonly number[],
    take: TakeLogits,
    signal: AbortSignal | undefined,
    commit = false,
  ): Promise<void> {
    if (signal?.aborted === true) throw new LinnetError('ABORTED', 'stopped while scoring');
    const indices = new Map(nodes.map((node, index) => [node, index]));
    const wanted = nodes.flatMap((node, index) => (trie.predictions[node] === undefined ? [] : [index]));
    const request = {
      state,
      tree: new TokenTree(nodes.map((node) => indices.get(trie.parents[node]) ?? -1)),
      tokens: nodes.map((node) => trie.tokens[node]),
      wanted: wanted.length === 0 ? [nodes.length - 1] : wanted,
    };
    const [output] = await this.#engine.step([request]);
    this.#read += nodes.length;
    wanted.forEach((index, i) => {
      const logits = output.logits[i];
      const { normalizer, best } = summaryOf(logits);
      for (const { sequence, token } of trie.predictions[nodes[index]] ?? []) {
        take(sequence, logitOf(logits, token) - normalizer, token === best);
      }
    });
    if (commit) await this.#engine.commit(request, output, range(0, nodes.length));
    await eventLoopTurn();
  }
}

/** Told log p of one token of a sequence, and whether no other was more probable. */
type TakeLogits = (sequence: number, logProbability: number, isBest: boolean) => void;

/** log Σ exp of logits, in float64, and the index of the largest, the first among equals. */
function summaryOf(logits: Float32Array): { normalizer: number; best: number } {
  let best = 0;
  for (let token = 1; token < logits.length; token++) if (logits[token] > logits[best]) best = token;
  const peak = logits[best];
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - peak);
  return { normalizer: Math.log(total) + peak, best };
}

/** The step checks what it reads; the last token of a sequence is only predicted. */
function logitOf(logits: Float32Array, token: number): number {
  if (token >= 0 && token < logits.length) return logits[token];
  throw new LinnetError(
    'MISMATCH',
    `token ${token} is outside the model's vocabulary of ${logits.length}; the tokenizer is of another model`,
  );
}

function range(start: number, end: number): number[] {
  return Array.from({ length: end - start }, (_, index) => start + index);
}
