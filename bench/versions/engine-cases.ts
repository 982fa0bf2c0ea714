/** A model's engine at work: single tokens, prompts, many texts in a step, token trees, and texts from `open`. */
import type { StepEngine } from '../../src/decoding/step-engine.ts';
import { randomTree } from '../../src/evaluation/speed/verification-speed.ts';
import { Random } from '../../src/random.ts';
import { type Checkout, threads } from './checkout.ts';
import type { Case, Measure } from './turns.ts';

export interface EngineCaseSizes {
  /** Tokens committed before single-token steps. */
  readonly contexts: readonly number[];
  /** Prompt lengths. */
  readonly prompts: readonly number[];
  /** Texts per step. */
  readonly rows: readonly number[];
  /** Nodes per token tree. */
  readonly trees: readonly number[];
}

/** A version's engine for a model. */
export interface Subject {
  readonly checkout: Checkout;
  readonly engine: StepEngine;
}

type Make = (subject: Subject) => Measure;

const contextOfSteps = 256;

async function timed(run: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await run();
  return performance.now() - started;
}

function filledState({ checkout, engine }: Subject, context: number): ReturnType<StepEngine['newState']> {
  const state = engine.newState();
  checkout.decodingSpeed.fillState(state, context, new Random(1));
  return state;
}

const oneToken =
  (context: number): Make =>
  (subject) => {
    const { engine } = subject;
    const [state, random] = [filledState(subject, context), new Random(2)];
    return () => timed(() => engine.advance(state, random.integer(engine.model.sizes.vocabulary)));
  };

const prompt =
  (length: number): Make =>
  ({ engine }) => {
    const random = new Random(3);
    return () => {
      const tokens = Int32Array.from({ length }, () => random.integer(engine.model.sizes.vocabulary));
      return timed(() => engine.prefill(engine.newState(), tokens));
    };
  };

/** One step with one token per text. */
const rows =
  (count: number): Make =>
  (subject) => {
    const { checkout, engine } = subject;
    const random = new Random(4);
    const states = Array.from({ length: count }, () => filledState(subject, contextOfSteps));
    const tree = checkout.tree.chain(1);
    return () => {
      const requests = states.map((state) => ({
        state,
        tree,
        tokens: [random.integer(engine.model.sizes.vocabulary)],
        wanted: [0],
      }));
      return timed(async () => {
        const outputs = await engine.step(requests);
        for (const [b, request] of requests.entries()) await engine.commit(request, outputs[b], [0]);
      });
    };
  };

/** One step of a token tree; commits its root. */
const tree =
  (size: number): Make =>
  (subject) => {
    const { checkout, engine } = subject;
    const random = new Random(5);
    const state = filledState(subject, contextOfSteps);
    return () => {
      const nodes = new checkout.tree.TokenTree(randomTree(size, 4, random).parents);
      const tokens = Int32Array.from({ length: size }, () => random.integer(engine.model.sizes.vocabulary));
      const request = { state, tree: nodes, tokens, wanted: Array.from(tokens, (_, node) => node) };
      return timed(async () => {
        const [output] = await engine.step([request]);
        await engine.commit(request, output, [0]);
      });
    };
  };

export function engineCases(subjects: readonly [Subject, Subject], sizes: EngineCaseSizes): Case[] {
  const made = (what: string, make: Make, least?: number): Case => ({
    ...{ what, unit: 'ms', least },
    measure: [make(subjects[0]), make(subjects[1])],
  });
  return [
    ...sizes.contexts.map((context) => made(`one token at ${context}`, oneToken(context))),
    ...sizes.prompts.map((length) => made(`prompt of ${length}`, prompt(length), 1)),
    ...sizes.rows.map((count) => made(`${count} texts, a token each`, rows(count))),
    ...sizes.trees.map((size) => made(`tree of ${size} nodes`, tree(size))),
  ];
}

/** Milliseconds per token of a text from `open().generate`, including its short prompt. */
export async function textCase(
  checkouts: readonly [Checkout, Checkout],
  models: readonly [string, string],
  tokens: number,
): Promise<Case> {
  const [before, now] = await Promise.all(checkouts.map(({ open }, which) => open.open(models[which], { threads })));
  const generate =
    (opened: typeof before): Measure =>
    async () => {
      const options = { maxTokens: tokens, temperature: 0, ignoreEos: true };
      return (await timed(() => opened.generate('Call me Ishmael. It was', options).text())) / tokens;
    };
  return {
    ...{ what: `a token of generate(), of ${tokens}`, unit: 'ms', measure: [generate(before), generate(now)] },
    async end() {
      for (const opened of [before, now]) await opened[Symbol.asyncDispose]();
    },
  };
}
