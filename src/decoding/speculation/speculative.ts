/**
 * Speculative decoding: a drafter guesses a tree of tokens, the model reads all of it in one step, an acceptance rule
 * picks a path, and only that path is taken into the state.
 *
 * Between rounds the state lacks the last token of the text, as in sequential decoding: it is the root of the next tree.
 * Accepted rows are taken in when the next round starts, or the text ends, so that the state never holds more than what
 * the text keeps, even where a stop string cuts a round short.
 */
import { internalError, LinnetError } from '../../errors.ts';
import type { StepOutput, StepRequest } from '../step-engine.ts';
import type { Continuation, DecodingMethod, ReadPrompt, StepBounds } from '../method.ts';
import { type AcceptanceRule, exact } from './acceptance.ts';
import { type PrunedDraft, pruneDraft, rootDraft } from './drafters/draft-trie.ts';
import type { Draft, Drafter } from './drafters/drafter.ts';
import type { Pacing } from './adaptive-speculation.ts';
import type { SpeculationStatistics } from './statistics.ts';
import { requireKind, requireOptions } from '../../files/arguments.ts';

/** How to speculate. */
export interface SpeculationOptions {
  /** Default: `exact`. */
  readonly acceptance?: AcceptanceRule;
  /** Turns drafting off where it does not pay. Default: every round is drafted. One text's own. */
  readonly adaptive?: Pacing;
  /** Where rounds are added up. */
  readonly statistics?: SpeculationStatistics;
  /** Is shown every verified tree, when its round ends. */
  readonly onTree?: (verified: VerifiedTree) => void;
}

const speculationOptionNames: Readonly<Record<keyof SpeculationOptions, true>> = {
  ...{ acceptance: true, adaptive: true, statistics: true, onTree: true },
};

/** A drafted tree with the model's verdict. */
export interface VerifiedTree {
  /** Token of every node [T]; node 0 is the root, the last token of the text. */
  readonly tokens: Int32Array;
  /** Parent of every node [T], -1 for the root. */
  readonly parents: Int32Array;
  /** Nodes of the accepted path, from the root. */
  readonly accepted: readonly number[];
  /** The token that follows the path. */
  readonly next: number;
  /** Where a node's guess comes from, for people. */
  readonly source: (node: number) => string;
}

/**
 * A method that verifies the drafts of `drafter`, which serves this one text.
 * @example
 * ```ts
 * const method = speculative(new LookupDrafter());
 * await using model = await open('runs/augmented');
 * const text = await model.generate('Call me', { method }).text();
 * ```
 */
export function speculative(drafter: Drafter, options: SpeculationOptions = {}): DecodingMethod {
  requireKind(drafter, 'the drafter', ['propose', 'name'], 'a drafter');
  requireOptions(options, 'the options of speculative', speculationOptionNames);
  return (prompt) => new SpeculativeDecoder(prompt, drafter, options);
}

/** A round under way. */
interface PlannedRound {
  readonly request: StepRequest;
  readonly draft: PrunedDraft;
  readonly speculated: boolean;
  readonly started: number;
  readonly planned: number;
  readonly commitSeconds: number;
}

/** Rows that were accepted and are not in the state yet. */
interface AcceptedRows {
  readonly request: StepRequest;
  readonly output: StepOutput;
  readonly path: readonly number[];
}

/** One text that is decoded by speculation. */
class SpeculativeDecoder implements Continuation {
  readonly #prompt: ReadPrompt;
  readonly #drafter: Drafter;
  readonly #acceptance: AcceptanceRule;
  readonly #adaptive: Pacing | undefined;
  readonly #statistics: SpeculationStatistics | undefined;
  readonly #onTree: SpeculationOptions['onTree'];
  /** Hidden state from which the last token of the text was predicted. */
  #hidden: Float32Array;
  #round: PlannedRound | undefined;
  #accepted: AcceptedRows | undefined;
  #started = false;

  constructor(prompt: ReadPrompt, drafter: Drafter, options: SpeculationOptions = {}) {
    this.#prompt = prompt;
    this.#drafter = drafter;
    this.#acceptance = options.acceptance ?? exact;
    this.#adaptive = options.adaptive;
    this.#statistics = options.statistics;
    this.#onTree = options.onTree;
    this.#hidden = prompt.hidden;
  }

  /**
   * Begins a round: takes in the tokens that the last one accepted, and drafts. The first round needs no run.
   * @throws LinnetError `INPUT` if the drafter's draft does not grow from the last token
   */
  async plan(text: readonly number[], { count, ends }: StepBounds): Promise<readonly StepRequest[]> {
    if (!this.#started) return [];
    const started = performance.now();
    await this.#takeIn(text.length - 1);
    const committed = performance.now();
    const { state } = this.#prompt;
    const speculated = this.#adaptive?.next !== 'sequential';
    const draft = speculated ? await this.#propose(text, { count, ends }) : rootDraft(text[text.length - 1]);
    const { tree, tokens } = draft;
    const wanted = Array.from(tokens, (_, node) => node);
    const request = { state, tree, tokens, wanted };
    const commitSeconds = (committed - started) / 1000;
    this.#round = { request, draft, speculated, started, planned: performance.now(), commitSeconds };
    return [request];
  }

  async #propose(text: readonly number[], { count, ends }: StepBounds): Promise<PrunedDraft> {
    const root = text[text.length - 1];
    const maxDepth = count - 1; // the token after the last accepted node counts too
    const { state } = this.#prompt;
    const rate = this.#adaptive?.rate;
    const proposed = await this.#drafter.propose({ tokens: text, root, hidden: this.#hidden, state, maxDepth, rate });
    checkDraft(proposed, root, this.#drafter.name);
    return pruneDraft(proposed, maxDepth, ends);
  }

  /** Ends a round: at least one token. The first is drawn from the prompt's logits. */
  async conclude(text: readonly number[], [output]: readonly StepOutput[]): Promise<readonly number[]> {
    if (!this.#started) {
      this.#started = true;
      return [this.#prompt.sampler.next(this.#prompt.logits, text)];
    }
    const round = this.#round;
    if (round === undefined || output === undefined) throw internalError('a round ends that was not planned and run');
    this.#round = undefined;
    const { request, draft, speculated, started, planned, commitSeconds } = round;
    const verified = performance.now();
    const { path, next } = this.#acceptance({ draft, logits: output.logits, text, sampler: this.#prompt.sampler });
    this.#hidden = output.hidden[path[path.length - 1]];
    this.#accepted = { request, output, path };
    const tokens = [...path.slice(1).map((node) => draft.tokens[node]), next];
    const ended = performance.now();
    await this.#drafter.accepted?.(tokens, { tokens: draft.tokens, logits: output.logits });
    const learned = performance.now();
    const { origin, tree } = draft;
    this.#adaptive?.record(
      speculated ? 'speculative' : 'sequential',
      (learned - started) / 1000,
      tokens.length,
      tree.size,
    );
    const source = draft.source ?? (() => this.#drafter.name);
    this.#onTree?.({ tokens: draft.tokens, parents: tree.parents, accepted: path, next, source });
    this.#statistics?.record({
      nodes: tree.size,
      path: origin === undefined ? path : path.map((node) => origin[node]),
      offered: origin ?? request.wanted,
      speculated,
      seconds: {
        draft: (planned - started + learned - ended) / 1000 - commitSeconds,
        verify: (verified - planned) / 1000,
        accept: (ended - verified) / 1000,
        commit: commitSeconds,
      },
    });
    return tokens;
  }

  /** Brings the state to the first `length` tokens of the text, as far as they have been read. */
  async settle(length: number): Promise<void> {
    const started = performance.now();
    await this.#takeIn(length);
    this.#statistics?.addSeconds('commit', (performance.now() - started) / 1000);
    this.#drafter.ended?.();
  }

  async #takeIn(length: number): Promise<void> {
    if (this.#accepted === undefined) return;
    const { request, output, path } = this.#accepted;
    this.#accepted = undefined;
    const count = length - this.#prompt.state.length;
    await this.#prompt.engine.commit(request, output, path.slice(0, Math.max(0, count)));
  }
}

function checkDraft({ tree, tokens }: Draft, root: number, drafter: string): void {
  const roots = tree.depths.reduce((count, depth) => (depth === 0 ? count + 1 : count), 0);
  if (tokens.length === tree.size && tokens[0] === root && roots === 1) return;
  throw new LinnetError(
    'INPUT',
    `drafter "${drafter}" gave ${tree.size} nodes with ${tokens.length} tokens and ${roots} roots, the first being ` +
      `token ${tokens[0]}; expected one root, token ${root}`,
  );
}
