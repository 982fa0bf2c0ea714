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
import { openBlock } from '../../attention/masks.ts';
import { pruneDraft, rootDraft } from './drafters/draft-trie.ts';
import type { Draft, Drafter } from './drafters/drafter.ts';
import type { Pacing } from './adaptive-speculation.ts';
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
  acceptance: true,
  adaptive: true,
  statistics: true,
  onTree: true,
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

/** A round under way. */
interface PlannedRound {
  readonly request: StepRequest;
  readonly draft: Draft;
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
function decoder(prompt: ReadPrompt, drafter: Drafter, options: SpeculationOptions): Continuation {
  const { engine, state, sampler } = prompt;
  const { acceptance = exact, adaptive, statistics, onTree } = options;
  /** Hidden state from which the last token of the text was predicted. */
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
     * Takes in the tokens that the last round accepted, and drafts. The first round needs no run.
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
    /** At least one token. The first is drawn from the prompt's logits. */
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

/** Where the time of a round goes, in seconds. */
export interface RoundSeconds {
  /** Making the draft, and learning from what became of it. */
  readonly draft: number;
  /** The model's run over the tree, its masks included. */
  readonly verify: number;
  /** The acceptance rule. */
  readonly accept: number;
  /** Taking the accepted rows of the round before into the state. */
  readonly commit: number;
}

/** One round, as `record` is reported. */
export interface Round {
  /** Number of nodes read, the root included. */
  readonly nodes: number;
  /** Accepted nodes, the root included. */
  readonly accepted: number;
  /** Whether the drafter was asked; without it a round is sequential decoding. */
  readonly speculated: boolean;
  readonly seconds: RoundSeconds;
}

/** Statistics for people and JSON. */
export interface SpeculationSummary {
  /** Runs of the model. */
  readonly steps: number;
  /** Those of them that read a draft. */
  readonly speculatedSteps: number;
  /** Tokens that a run brought, accepted ones and the one after them; 0 before the first. */
  readonly tokensPerStep: number;
  /** Nodes that a run read. */
  readonly nodesPerStep: number;
  /** Share of speculated runs that accepted a node of depth 1, 2, … */
  readonly acceptedByDepth: readonly number[];
  readonly seconds: RoundSeconds;
}

/** Adds up rounds. */
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

  /** Adds time that belongs to no later round, such as the last commit. */
  addSeconds(part: keyof RoundSeconds, seconds: number): void {
    this.#seconds[part] += seconds;
  }

  /** The means over all rounds so far. */
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
