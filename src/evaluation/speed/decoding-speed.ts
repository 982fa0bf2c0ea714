/** Time of single steps and of reading prompts, and memory per session, against the context: flat for linearized models. */
import { chain } from '../../attention/tree.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { CausalModel } from '../../models/model.ts';
import type { Watched } from '../../errors.ts';
import { Random } from '../../random.ts';
import { timeInTurns, timingOf } from './timing.ts';

/** Speed of an engine at a context. */
export type ContextSpeed = ReturnType<typeof speedOf>;

/** Contexts to measure, each with a turn in every round. */
interface ContextSpeedOptions extends Watched {
  readonly contexts: readonly number[];
}

/**
 * Fills a state with random rows as if `context` tokens had been read: the cost of a step does not depend on the
 * values of the rows, and reading 32K tokens into a softmax model takes minutes.
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
  // Sums of positive features are positive: the logarithm of a memory would be none.
  for (const array of state.layerSums) for (let i = 0; array && i < array.length; i++) array[i] = random.uniform();
  state.length = context;
}

/** Steps until bits are no longer compared, for which single tokens of a small model are read twice at first. */
export async function finishComparing(engine: StepEngine): Promise<void> {
  const request = { state: engine.newState(), tree: chain(1), tokens: [0], wanted: [0] };
  while (engine.comparesBits) await engine.step([request]);
}

/**
 * The usual contexts, as far as a model's learned positions reach: longer ones become the longest that there is room for.
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

/** Timed steps at a context, spread over rounds. */
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
 * Times the reading of random prompts into empty states, after one chunk that is not counted.
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
 * @param context tokens committed before the timed steps, or tokens of the prompt
 * @param tokens that are read in a sample: in one step with its commit, or of the prompt
 * @param stateBytes of a state that has read the context
 */
function speedOf(context: number, tokens: number, samples: readonly number[], stateBytes: number) {
  const timing = timingOf(samples);
  return { context, timing, tokensPerSecond: (1000 * tokens) / timing.medianMs, stateBytes };
}
