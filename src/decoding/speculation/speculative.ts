/**
 * Speculative decoding: a drafter guesses a tree of tokens, the model reads all of it in one step, an acceptance rule picks
 * a path, and only that path enters the state.
 *
 * Between rounds the state lacks the text's last token, as in sequential decoding: it is the next tree's root. Accepted
 * rows are committed when the next round starts or the text ends, so the state never holds more than the text keeps, even
 * if a stop string cuts a round short.
 */
import { internalError, LinnetError } from '../../errors.ts';
import type { StepOutput, StepRequest } from '../step-engine.ts';
import type { Continuation, DecodingMethod, ReadPrompt, StepBounds } from '../method.ts';
import { type AcceptanceRule, exact } from './acceptance.ts';
import { openBlock } from '../../attention/masks.ts';
import { pruneDraft, rootDraft } from './drafters/draft-trie.ts';
import type { Draft, Drafter } from './drafters/drafter.ts';
import type { Pacing } from './adaptive-speculation.ts';
import { requireKind, requireOptions } from '../../files/arguments.ts';

/** How to speculate. */
export interface SpeculationOptions {
  /** Default: `exact`. */
  readonly acceptance?: AcceptanceRule;
  /** Turns drafting off when it does not pay. Default: drafts every round. Serves one text. */
  readonly adaptive?: Pacing;
  /** Sums up rounds. */
  readonly statistics?: SpeculationStatistics;
  /** Receives every verified tree when its round ends. */
  readonly onTree?: (verified: VerifiedTree) => void;
}

const speculationOptionNames: Readonly<Record<keyof SpeculationOptions, true>> = {
  acceptance: true,
  adaptive: true,
  statistics: true,
  onTree: true,
};

/** A drafted tree with the model's verdict. */
export interface VerifiedTree {
  /** Token of every node [T]; node 0 is the root, the text's last token. */
  readonly tokens: Int32Array;
  /** Parent of every node [T], -1 for the root. */
  readonly parents: Int32Array;
  /** Nodes of the accepted path, from the root. */
  readonly accepted: readonly number[];
  /** The token that follows the path. */
  readonly next: number;
  /** Where a node's guess comes from, for people to read. */
  readonly source: (node: number) => string;
}

/**
 * A method that verifies drafts by `drafter`, which serves only this text.
 * @example
 * ```ts
 * const method = speculative(lookupDrafter());
 * await using model = await open('runs/augmented');
 * const text = await model.generate('Call me', { method }).text();
 * ```
 */
export function speculative(drafter: Drafter, options: SpeculationOptions = {}): DecodingMethod {
  requireKind(drafter, 'the drafter', ['propose', 'name'], 'a drafter');
  requireOptions(options, 'the options of speculative', speculationOptionNames);
  return Object.assign((prompt: ReadPrompt) => decoder(prompt, drafter, options), { reads: drafter.reads });
}

/** A round in progress. */
interface PlannedRound {
  readonly request: StepRequest;
  readonly draft: Draft;
  readonly speculated: boolean;
  readonly started: number;
  readonly planned: number;
  readonly commitSeconds: number;
}

/** Rows that were accepted but are not in the state yet. */
interface AcceptedRows {
  readonly request: StepRequest;
  readonly output: StepOutput;
  readonly path: readonly number[];
}

/** Decodes one text by speculation. */
function decoder(prompt: ReadPrompt, drafter: Drafter, options: SpeculationOptions): Continuation {
  const { engine, state, sampler } = prompt;
  const { acceptance = exact, adaptive, statistics, onTree } = options;
  /** Hidden state that predicted the text's last token. */
  let { hidden } = prompt;
  let round: PlannedRound | undefined;
  let accepted: AcceptedRows | undefined;
  let begun = false;

  const takeIn = async (length: number): Promise<void> => {
    if (accepted === undefined) return;
    const { request, output, path } = accepted;
    accepted = undefined;
    await engine.commit(request, output, path.slice(0, Math.max(0, length - state.length)));
  };
  const propose = async (text: readonly number[], { count, ends }: StepBounds): Promise<Draft> => {
    const root = text[text.length - 1];
    const room = engine.room(state);
    const maxDepth = Math.min(count, room) - 1; // the token after the last accepted node counts too
    const context = { tokens: text, root, hidden, state, maxDepth, rate: adaptive?.rate };
    const proposed = await drafter.propose(context);
    checkDraft(proposed, root, drafter.name);
    const { boundaries, draftPaths } = engine.layout;
    return pruneDraft(proposed, maxDepth, ends, boundaries.length > 0 ? openBlock : undefined, draftPaths);
  };
  return {
    /**
     * Commits the tokens that the last round accepted, and drafts. The first round needs no run.
     * @throws LinnetError `INPUT` if the drafter's draft does not grow from the last token
     */
    async plan(text, bounds) {
      if (!begun) return [];
      const started = performance.now();
      await takeIn(text.length - 1);
      const commitSeconds = (performance.now() - started) / 1000;
      const speculated = adaptive?.next !== 'sequential';
      const draft = speculated ? await propose(text, bounds) : rootDraft(text[text.length - 1]);
      const { tree, tokens } = draft;
      const request = { state, tree, tokens, wanted: Array.from(tokens, (_, node) => node) };
      round = { request, draft, speculated, started, planned: performance.now(), commitSeconds };
      return [request];
    },
    /** At least one token. The first comes from the prompt's logits. */
    async conclude(text, [output]) {
      if (!begun) {
        begun = true;
        await sampler.ready(text);
        const first = sampler.next(prompt.logits, text);
        const { recent = [hidden] } = prompt;
        drafter.read?.([...text.slice(text.length + 1 - recent.length), first], recent);
        return [first];
      }
      if (round === undefined || output === undefined) throw internalError('a round ends that was not planned and run');
      const { request, draft, speculated, started, planned, commitSeconds } = round;
      round = undefined;
      const verified = performance.now();
      const { path, next } = await acceptance({ draft, logits: output.logits, text, sampler });
      hidden = output.hidden[path[path.length - 1]];
      accepted = { request, output, path };
      const tokens = [...path.slice(1).map((node) => draft.tokens[node]), next];
      const ended = performance.now();
      await drafter.accepted?.(tokens, { ...output, tokens: draft.tokens, path });
      const learned = performance.now();
      const { tree, source = () => drafter.name } = draft;
      const pace = speculated ? 'speculative' : 'sequential';
      adaptive?.record(pace, (learned - started) / 1000, tokens.length, tree.size);
      onTree?.({ tokens: draft.tokens, parents: tree.parents, accepted: path, next, source });
      statistics?.record({
        nodes: tree.size,
        accepted: path.length,
        speculated,
        seconds: {
          draft: (planned - started + learned - ended) / 1000 - commitSeconds,
          verify: (verified - planned) / 1000,
          accept: (ended - verified) / 1000,
          commit: commitSeconds,
        },
      });
      return tokens;
    },
    async settle(length) {
      const started = performance.now();
      await takeIn(length);
      statistics?.addSeconds('commit', (performance.now() - started) / 1000);
      drafter.ended?.();
      return [];
    },
  };
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

/** Where a round's time goes, in seconds. */
export interface RoundSeconds {
  /** Drafting, and learning from the outcome. */
  readonly draft: number;
  /** The model's run over the tree, including its masks. */
  readonly verify: number;
  /** The acceptance rule. */
  readonly accept: number;
  /** Committing the previous round's accepted rows. */
  readonly commit: number;
}

/** One round, as passed to `record`. */
export interface Round {
  /** Number of nodes read, including the root. */
  readonly nodes: number;
  /** Accepted nodes, including the root. */
  readonly accepted: number;
  /** Whether the drafter was asked; if not, a round is sequential decoding. */
  readonly speculated: boolean;
  readonly seconds: RoundSeconds;
}

/** Statistics, for people and JSON. */
export interface SpeculationSummary {
  /** The model's runs. */
  readonly steps: number;
  /** Runs that read a draft. */
  readonly speculatedSteps: number;
  /** Tokens per run, accepted ones and the one after them; 0 before the first. */
  readonly tokensPerStep: number;
  /** Nodes read per run. */
  readonly nodesPerStep: number;
  /** Share of speculated runs that accepted a node of depth 1, 2, … */
  readonly acceptedByDepth: readonly number[];
  readonly seconds: RoundSeconds;
}

/** Sums up rounds. */
export class SpeculationStatistics {
  #steps = 0;
  #speculated = 0;
  #tokens = 0;
  #nodes = 0;
  readonly #depths: number[] = [];
  readonly #seconds = { draft: 0, verify: 0, accept: 0, commit: 0 };

  /** Counts one round. */
  record({ nodes, accepted, speculated, seconds }: Round): void {
    this.#steps++;
    this.#tokens += accepted;
    this.#nodes += nodes;
    for (const part of roundParts) this.#seconds[part] += seconds[part];
    if (!speculated) return;
    this.#speculated++;
    for (let depth = 1; depth < accepted; depth++) this.#depths[depth - 1] = (this.#depths[depth - 1] ?? 0) + 1;
  }

  /** Adds time that belongs to no later round, for example the last commit. */
  addSeconds(part: keyof RoundSeconds, seconds: number): void {
    this.#seconds[part] += seconds;
  }

  /** Means over all rounds so far. */
  get summary(): SpeculationSummary {
    const steps = Math.max(1, this.#steps);
    return {
      steps: this.#steps,
      speculatedSteps: this.#speculated,
      tokensPerStep: this.#tokens / steps,
      nodesPerStep: this.#nodes / steps,
      acceptedByDepth: this.#depths.map((accepted) => accepted / this.#speculated),
      seconds: { ...this.#seconds },
    };
  }
}

const roundParts = ['draft', 'verify', 'accept', 'commit'] as const;
