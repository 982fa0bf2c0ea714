/** Answers to texts whose beginnings are known against answers to texts that an engine has not seen: tokens and states. */
import { decodeSession, encodeSession } from '../../src/decoding/state/session-file.ts';
import type { SequenceState } from '../../src/decoding/state/sequence-state.ts';
import type { StepEngine } from '../../src/decoding/step-engine.ts';
import { Runner } from '../../src/engine/runner.ts';
import { PrefixCache } from '../../src/engine/text/prefix-cache.ts';
import type { TextJob } from '../../src/engine/text-job.ts';
import { isSameState } from '../../src/evaluation/check/same-bits.ts';

/** Tokens of an answer. */
const answerTokens = 12;
const fingerprint = 'of the bench';

interface Answer {
  readonly tokens: readonly number[];
  readonly state: SequenceState;
}

async function answerOf(runner: Runner, tokens: readonly number[], options: Partial<TextJob> = {}): Promise<Answer> {
  const job = { prompt: { tokens: [...tokens] }, maxTokens: answerTokens, ignoreEos: true, ...options };
  for await (const event of runner.submit(job)) {
    if (event.type === 'end') return { tokens: event.generation.tokens, state: event.generation.state };
  }
  throw new Error('a text without an end');
}

/** An engine that has read a beginning, another of the same weights, and the chunk of both. */
export interface WarmStart {
  readonly engine: StepEngine;
  readonly other: StepEngine;
  readonly chunk: number;
  readonly beginning: readonly number[];
  readonly rest: readonly number[];
}

/** The state of the beginning through the bytes of a session, in an engine. */
async function throughBytes({ engine, chunk, beginning }: WarmStart, to: StepEngine): Promise<SequenceState> {
  const state = engine.newState();
  await engine.prefill(state, beginning, { chunk });
  const bytes = encodeSession({ state, tokens: [...beginning], fingerprint });
  return (await decodeSession(bytes, to, fingerprint)).state;
}

type Known = readonly [text: readonly number[], answer: Answer];

/** By how the beginning is known: the whole text, and its answer. */
const ways = {
  async prefix({ engine, chunk, beginning, rest }: WarmStart): Promise<Known> {
    const runner = new Runner(engine, { chunk, prefixes: new PrefixCache(1 << 28) });
    await answerOf(runner, beginning);
    const text = [...beginning, ...rest];
    return [text, await answerOf(runner, text)];
  },
  async session(start: WarmStart): Promise<Known> {
    const { engine, chunk, beginning, rest } = start;
    const text = [...beginning, ...rest];
    return [text, await answerOf(new Runner(engine, { chunk }), text, { state: await throughBytes(start, engine) })];
  },
  async restart(start: WarmStart): Promise<Known> {
    const { other, chunk, beginning, rest } = start;
    const text = [...beginning, ...rest];
    return [text, await answerOf(new Runner(other, { chunk }), text, { state: await throughBytes(start, other) })];
  },
  async turn({ engine, chunk, beginning, rest }: WarmStart): Promise<Known> {
    const runner = new Runner(engine, { chunk, prefixes: new PrefixCache(1 << 28), drafter: 'auto' });
    const { tokens } = await answerOf(runner, beginning, { maxTokens: 3 * answerTokens });
    const text = [...beginning, ...tokens, ...rest];
    return [text, await answerOf(runner, text)];
  },
};

/** A beginning that was kept, a session, a session in another process, a turn of a conversation after a drafted one. */
export const warmWays = ['prefix', 'session', 'restart', 'turn'] as const;

/** Tokens that the answers of a start may add to its text. */
export const longestAnswers = 4 * answerTokens;

/** Whether the answer and its state have the bits of those of an engine that reads the whole text. */
export async function isWarmLikeCold(way: (typeof warmWays)[number], start: WarmStart): Promise<boolean> {
  const [text, warm] = await ways[way](start);
  const cold = await answerOf(new Runner(start.other), text);
  return cold.tokens.every((token, i) => token === warm.tokens[i]) && isSameState(cold.state, warm.state);
}
