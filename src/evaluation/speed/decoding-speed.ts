/** Time per token and memory per session against the context: flat for linearized models, growing for softmax. */
import { DecodingEngine } from '../../decoding/engine.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import { LinnetError } from '../../errors.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { CausalModel } from '../../models/model.ts';
import { Random } from '../../random.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { timingOf, type Timing } from './timing.ts';

export interface DecodingSpeed {
  /** Tokens committed before the timed steps. */
  readonly context: number;
  /** One step: run of the graph and commit. */
  readonly timing: Timing;
  readonly tokensPerSecond: number;
  readonly stateBytes: number;
}

export interface DecodingSpeedOptions {
  readonly contexts: readonly number[];
  /** Timed steps per context, spread over `rounds` rounds; default 64 in 4. */
  readonly steps?: number;
  readonly rounds?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Fills a state with random rows as if `context` tokens had been read: the cost of a step does not depend on the
 * values of the rows, and reading 32K tokens into a softmax model takes minutes.
 */
export function fillState(state: SequenceState, context: number, random: Random): void {
  state.reserve(context - state.length);
  for (const positions of state.slotPositions.values()) {
    for (let position = Math.max(0, context - positions.length); position < context; position++) {
      positions[position % positions.length] = position;
    }
  }
  const arrays = [...state.layers.flatMap(({ keys, values, previous }) => [keys, values, previous]), ...state.sums];
  for (const array of arrays) for (let i = 0; i < array.length; i++) array[i] = random.uniform() - 0.5;
  state.length = context;
}

/**
 * Times single-token steps at several contexts. Contexts take turns, so that a machine whose speed drifts treats all
 * alike.
 */
export async function decodingSpeed(
  model: CausalModel,
  parameters: ReadonlyMap<string, Tensor>,
  options: DecodingSpeedOptions & { readonly compile?: CompileOptions },
): Promise<DecodingSpeed[]> {
  await using engine = await DecodingEngine.create(model, parameters, options.compile);
  return await engineDecodingSpeed(engine, options);
}

/** Steps of a context in each round that are not timed: another context has just filled caches and buffers. */
const untimedSteps = 2;

/** Positions that a measurement reads beyond its context. */
export function positionsBeyondContext({
  steps = 64,
  rounds = 4,
}: Pick<DecodingSpeedOptions, 'steps' | 'rounds'>): number {
  return rounds * (untimedSteps + Math.ceil(steps / rounds));
}

/** As `decodingSpeed`, of a model that is open already. */
export async function engineDecodingSpeed(engine: StepEngine, options: DecodingSpeedOptions): Promise<DecodingSpeed[]> {
  const { contexts, steps = 64, rounds = 4, signal, onProgress } = options;
  const random = new Random(1);
  const sessions = contexts.map((context) => {
    const state = engine.newState();
    fillState(state, context, random);
    return { context, state, samples: new Array<number>(), bytes: state.bytes };
  });
  for (let round = 0; round < rounds; round++) {
    for (const [index, { state, samples }] of sessions.entries()) {
      if (signal?.aborted === true) throw new LinnetError('ABORTED', 'stopped while timing decode steps');
      for (let i = 0; i < untimedSteps + steps / rounds; i++) {
        const started = performance.now();
        await engine.advance(state, random.integer(engine.model.sizes.vocabulary));
        if (i >= untimedSteps) samples.push(performance.now() - started);
      }
      onProgress?.(round * sessions.length + index + 1, rounds * sessions.length);
    }
  }
  return sessions.map(({ context, samples, bytes }) => {
    const timing = timingOf(samples);
    return { context, timing, tokensPerSecond: 1000 / timing.medianMs, stateBytes: bytes };
  });
}
