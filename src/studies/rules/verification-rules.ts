/**
 * What exact tree verification is worth: greedy text by speculation against greedy text token by token, under the exact
 * rule and under rules that other code has. A rule that is not exact gives other tokens near group boundaries, or on
 * every branch, and takes rows into the state that sequential decoding would not have made.
 */
import { z } from 'zod';
import type { TreeRule } from '../../attention/masks.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { nextTokens, type StepBounds } from '../../decoding/method.ts';
import { Sampler } from '../../decoding/sampler.ts';
import type { Drafter } from '../../decoding/speculation/drafters/drafter.ts';
import { ReferenceDrafter, type ReferenceOptions } from '../../decoding/speculation/drafters/reference-drafter.ts';
import { speculative } from '../../decoding/speculation/speculative.ts';
import { LinnetError, requireRunning, type Stoppable } from '../../errors.ts';
import { Discrepancy } from '../../evaluation/check/rows.ts';

/** A rule, by its name in tables. */
export interface NamedRule {
  readonly name: string;
  readonly rule: TreeRule;
}

/** The exact rule, and rules that are each wrong in one way. */
export const verificationRules: readonly NamedRule[] = [
  { name: 'exact', rule: {} },
  // As the paper's reference code: a node beyond a group boundary does not see the group that has just closed, neither its
  // committed rows nor its nodes.
  { name: "the paper's group boundary", rule: { seesClosedGroups: false } },
  // A causal convolution over the nodes in their order.
  {
    name: 'standard convolution on the flattened tree',
    rule: { depth: (_, node) => node, offset: (_, node, column) => node - column },
  },
  // The offsets are right, but nodes on other branches count too.
  {
    name: 'convolution without the tree mask',
    rule: { offset: ({ size, depths }, node, at) => (at < size ? depths[node] - depths[at] : -1) },
  },
];

/** How a rule fared. */
export type RuleAgreement = ReturnType<typeof ruleAgreements>[number];

export interface CompareRulesOptions extends ReferenceOptions, Stoppable {
  /** Tokens decoded after each prompt. Default 256. */
  readonly tokens?: number;
  /** Default: all of `verificationRules`. */
  readonly rules?: readonly NamedRule[];
  /**
   * Drafts of one text. Default: a `ReferenceDrafter`, so that all rules verify trees of the same quality. Under a rule
   * that differs, other drafters go on from the hidden state of the tokens it accepted, and guess the worse.
   */
  readonly makeDrafter?: () => Drafter;
  /** Told after every prompt, once for the sequential text and once per rule. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** A prompt with its greedy continuation. */
type SequentialText = Awaited<ReturnType<typeof decodeSequentially>>;

/**
 * Decodes prompts token by token, then by speculation under every rule, and counts differences. Drafts come from the
 * sequential text unless told otherwise, so that all rules verify the same trees, and trees are accepted deeply.
 *
 * @throws LinnetError `INPUT` for no prompts or an empty one; `ABORTED` when the signal fires between two prompts
 * @example
 * ```ts
 * const rules = await compareRules(engine, prompts, { tokens: 24 });
 * ```
 */
export async function compareRules(
  engine: StepEngine,
  prompts: readonly (readonly number[])[],
  options: CompareRulesOptions = {},
): Promise<RuleAgreement[]> {
  const { rules = verificationRules, signal, onProgress } = options;
  if (prompts.length === 0) throw new LinnetError('INPUT', 'no prompts were given; comparing rules needs at least one');
  const total = prompts.length * (1 + rules.length);
  let done = 0;
  const advance = (): void => {
    onProgress?.(++done, total);
    requireRunning(signal, `after ${done} of ${total} texts`);
  };
  const counts: RuleCount[][] = [];
  for (const prompt of prompts) counts.push(await countMismatches(engine, prompt, options, advance));
  return ruleAgreements(counts, rules);
}

/** Counts of a rule over one prompt; `error` is the largest difference of a logit on the right path, as `maxLogitError`. */
export const ruleCount = z.strictObject({ tokens: z.int(), mismatches: z.int(), steps: z.int(), error: z.number() });
type RuleCount = z.output<typeof ruleCount>;

/** Decodes one prompt token by token and by every rule; a count a rule. @param advance called after each text */
export async function countMismatches(
  engine: StepEngine,
  prompt: readonly number[],
  options: CompareRulesOptions,
  advance: () => void,
): Promise<RuleCount[]> {
  const { tokens = 256, rules = verificationRules } = options;
  const sequential = await decodeSequentially(engine, prompt, tokens);
  advance();
  const counts: RuleCount[] = [];
  for (const { rule } of rules) {
    counts.push({ tokens, ...(await decodeByRule(engine, sequential, rule, options)) });
    advance();
  }
  return counts;
}

/** Counts of prompts together, by rule. */
export function ruleAgreements(
  counts: readonly (readonly RuleCount[])[],
  rules: readonly NamedRule[] = verificationRules,
) {
  return rules.map(({ name }, index) => {
    const rounds = counts.map((ofPrompt) => ofPrompt[index]);
    const sum = (field: keyof RuleCount): number => rounds.reduce((total, count) => total + count[field], 0);
    const [tokens, mismatches] = [sum('tokens'), sum('mismatches')];
    return {
      name,
      tokens,
      /** Tokens that differ from sequential decoding of the same text, which then continues with the right one. */
      mismatches,
      mismatchesPer1000: (1000 * mismatches) / tokens,
      tokensPerStep: (tokens - counts.length) / Math.max(1, sum('steps')), // the first is the prompt's
      /** Largest difference of a logit on the right path, relative to the largest logit there. */
      maxLogitError: Math.max(...rounds.map(({ error }) => error)),
    };
  });
}

async function decodeSequentially(engine: StepEngine, prompt: readonly number[], tokens: number) {
  const sampler = new Sampler();
  const state = engine.newState();
  const text = [...prompt];
  const logits: Float32Array[] = []; // that predicted each token of the continuation, [V]
  for (let next = await engine.prefill(state, prompt); ; next = await engine.advance(state, text[text.length - 1])) {
    logits.push(next.logits.slice());
    text.push(sampler.next(next.logits, text));
    if (logits.length === tokens) return { prompt, text, logits };
  }
}

async function decodeByRule(
  engine: StepEngine,
  { prompt, text: truth, logits: expected }: SequentialText,
  rule: TreeRule,
  { makeDrafter, ...reference }: CompareRulesOptions,
): Promise<{ mismatches: number; steps: number; error: number }> {
  const state = engine.newState();
  const read = await engine.prefill(state, prompt);
  const drafter = makeDrafter?.() ?? new ReferenceDrafter(truth, engine.model.sizes.vocabulary, reference);
  const decoder = speculative(drafter)({ engine, state, sampler: new Sampler(), ...read });
  const text = [...prompt];
  const ends = new Set<number>();
  const bounds = (): StepBounds => ({ count: truth.length - text.length, ends });
  text.push(...(await nextTokens(engine, decoder, text, bounds()))); // the first needs no step, so no rule
  let [mismatches, steps, error] = [0, 0, 0];
  while (text.length < truth.length) {
    const [request] = await decoder.plan(text, bounds());
    const [output] = await engine.step([{ ...request, rule }]);
    steps++;
    // Nodes on the right path, and their expected logits.
    let node = 0;
    for (let at = text.length; ; at++) {
      const found = new Discrepancy();
      found.add(output.logits[node], expected[at - prompt.length]);
      error = Math.max(error, found.relative);
      const { parents } = request.tree;
      const child = parents.findIndex((parent, index) => parent === node && request.tokens[index] === truth[at]);
      if (child < 0) break;
      node = child;
    }
    for (const token of await decoder.conclude(text, [output])) {
      const right = truth[text.length];
      text.push(right);
      if (token === right) continue;
      mismatches++;
      break; // discards tokens that follow the wrong one
    }
  }
  return { mismatches, steps, error };
}
