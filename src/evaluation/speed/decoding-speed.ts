/**
 * Times single steps and reading prompts, and measures memory per session, against the context: flat for linearized models.
 */
import { chain } from '../../attention/tree.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { CausalModel } from '../../models/model.ts';
import type { Watched } from '../../errors.ts';
import { Random } from '../../random.ts';
import { timeInTurns, timingOf } from './timing.ts';

/** An engine's speed at one context. */
export type ContextSpeed = ReturnType<typeof speedOf>;

/** Contexts to measure, each with a turn in every round. */
interface ContextSpeedOptions extends Watched {
  readonly contexts: readonly number[];
}

/**
 * Fills a state with random rows as if it had read `context` tokens: a step's cost does not depend on the rows' values, and
 * reading 32K tokens into a softmax model takes minutes.
 */
export function fillState(state: SequenceState, context: number, random: Random): void {
  state.reserve(context - state.length);
  for (const positions of state.positions) {
    for (let position = Math.max(0, context - positions.length); position < context; position++) {
      positions[position % positions.length] = position;
    }
  }
  const rows = state.layers.flatMap(({ keys, values, previous }) => [keys, values, previous]);
  for (const array of rows) for (let i = 0; i < array.length; i++) array[i] = random.uniform() - 0.5;
  // Sums of positive features are positive: otherwise a memory's logarithm would not exist.
  for (const array of state.layerSums) for (let i = 0; array && i < array.length; i++) array[i] = random.uniform();
  state.length = context;
}

/** Steps until the engine stops comparing bits, for which it reads a small model's first single tokens twice. */
export async function finishComparing(engine: StepEngine): Promise<void> {
  const request = { state: engine.newState(), tree: chain(1), tokens: [0], wanted: [0] };
  while (engine.comparesBits) await engine.step([request]);
}

/**
 * The usual contexts within a model's learned positions: longer ones become the longest that fits.
 * @param beyond positions that the measurement reads after a context
 */
export function contextsWithin(
  usual: readonly number[],
  { positions }: Pick<CausalModel, 'positions'>,
  beyond = 0,
): number[] {
  const longest = Math.max(1, positions.limit - beyond);
  return [...new Set(usual.map((context) => Math.min(context, longest)))];
}

/** Timed steps per context, spread over rounds. */
interface StepCounts {
  /** Default 64. */
  readonly steps?: number;
  /** Default 4. */
  readonly rounds?: number;
}

const untimed = 2;

/** Positions that `decodingSpeed` reads beyond its context. */
export function positionsBeyondContext({ steps = 64, rounds = 4 }: StepCounts): number {
  return rounds * (untimed + Math.ceil(steps / rounds));
}

/** Times single-token steps. */
export async function decodingSpeed(
  engine: StepEngine,
  { contexts, steps = 64, rounds = 4, ...options }: ContextSpeedOptions & StepCounts,
): Promise<ContextSpeed[]> {
  const random = new Random(1);
  const states = contexts.map((context) => {
    const state = engine.newState();
    fillState(state, context, random);
    return state;
  });
  const bytes = states.map((state) => state.bytes);
  const { vocabulary } = engine.model.sizes;
  await finishComparing(engine);
  const cases = states.map((state) => () => () => engine.advance(state, random.integer(vocabulary)));
  const samples = await timeInTurns(cases, { ...options, rounds, runs: Math.ceil(steps / rounds), untimed });
  return contexts.map((context, i) => speedOf(context, 1, samples[i], bytes[i]));
}

/**
 * Times reading random prompts into empty states, after one uncounted chunk.
 * @param options `runs` timed readings of each length, default 3; `chunk` tokens per step, default the engine's
 */
export async function prefillSpeed(
  engine: StepEngine,
  {
    contexts,
    runs = 3,
    chunk = engine.promptChunk,
    ...options
  }: ContextSpeedOptions & { runs?: number; chunk?: number },
): Promise<ContextSpeed[]> {
  const random = new Random(3);
  const { vocabulary } = engine.model.sizes;
  const untimedPrompt = random.integers(Math.min(chunk, Math.max(...contexts)), vocabulary);
  await engine.prefill(engine.newState(), untimedPrompt, { chunk });
  const bytes = contexts.map(() => 0);
  const cases = contexts.map((context, i) => () => {
    const [state, tokens] = [engine.newState(), random.integers(context, vocabulary)];
    return async () => {
      await engine.prefill(state, tokens, { chunk, signal: options.signal });
      bytes[i] = state.bytes;
    };
  });
  const samples = await timeInTurns(cases, { ...options, rounds: runs });
  return contexts.map((context, i) => speedOf(context, context, samples[i], bytes[i]));
}

/**
 * @param context tokens committed before the timed steps, or the prompt's tokens
 * @param tokens read per sample: in one step with its commit, or by the prompt
 * @param stateBytes of a state that has read the context
 */
function speedOf(context: number, tokens: number, samples: readonly number[], stateBytes: number) {
  const timing = timingOf(samples);
  return { context, timing, tokensPerSecond: (1000 * tokens) / timing.medianMs, stateBytes };
}
