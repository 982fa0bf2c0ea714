/**
 * Continuing a text: reads the prompt, takes tokens from a decoding method until something ends the text, and turns
 * them into characters as they come.
 */
import { internalError, LinnetError } from '../errors.ts';
import { eventLoopTurn } from '../decoding/event-loop.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import {
  type Generation,
  type PromptEvent,
  TextGeneration,
  type TextGenerationOptions,
  type TokensEvent,
} from './text-generation.ts';
import { requireFunction, requireKind } from '../files/arguments.ts';

export type { Generation };

/** What `generate` is asked for. */
export interface GenerateOptions extends TextGenerationOptions {
  /** Ends generation between two steps or two chunks of the prompt; what there is by then is the result. */
  readonly signal?: AbortSignal;
}

/** What happens during generation: the prompt is read, tokens come, the text ends. */
export type GenerationEvent = PromptEvent | TokensEvent | { readonly type: 'end'; readonly generation: Generation };

/**
 * Continues a text, as a stream of events whose last one is `end`. The texts of the `tokens` events, joined, are the
 * text of the generation. Leaving the loop early stops generation.
 *
 * The event loop gets its turn between steps and between chunks of the prompt, so that a signal takes effect within one.
 *
 * @throws LinnetError `INPUT` for an empty prompt of a model without BOS, for tokens outside the vocabulary, for stop
 *   strings without a tokenizer, or for a state that has read the whole prompt or is in use by another text; `MISMATCH` for the state of another
 *   model; `RUNTIME` if the engine fails or gives logits that are no numbers
 * @example
 * ```ts
 * for await (const event of generate(engine, { promptTokens: [1, 403, 407], maxTokens: 20 })) {
 *   if (event.type === 'tokens') process.stdout.write(event.text);
 * }
 * ```
 */
export async function* generate(
  engine: StepEngine,
  given: GenerateOptions,
): AsyncGenerator<GenerationEvent, void, undefined> {
  checkOptions(engine, given);
  const { signal, ...options } = given;
  const state = options.state ?? engine.newState();
  if (state.isInUse) {
    throw new LinnetError(
      'INPUT',
      'the state is in use by another text; wait for its end, or give a fork of the state',
    );
  }
  state.isInUse = true;
  try {
    yield* rounds(new TextGeneration(engine, { ...options, state }), signal);
  } finally {
    state.isInUse = false;
  }
}

async function* rounds(
  run: TextGeneration,
  signal: AbortSignal | undefined,
): AsyncGenerator<GenerationEvent, void, undefined> {
  const aborted = async (): Promise<boolean> => {
    await eventLoopTurn();
    return signal?.aborted === true;
  };
  while (!run.promptRead && run.finish === undefined) {
    if (await aborted()) run.end('abort');
    else yield await run.readPrompt();
  }
  while (run.finish === undefined) yield (await aborted()) ? run.end('abort') : await run.step();
  await run.settle();
  yield { type: 'end', generation: run.result() };
}

/** @throws LinnetError `INPUT` for what is not of the type it should be */
function checkOptions(engine: StepEngine, options: GenerateOptions): void {
  requireKind(engine, 'the engine', ['step', 'prefill', 'newState'], 'an engine');
  requireKind(options, 'the options', ['promptTokens'], 'an object with promptTokens');
  const { sampler, state, signal, method } = options;
  if (sampler !== undefined) requireKind(sampler, 'sampler', ['next', 'random'], 'a Sampler');
  if (state !== undefined) requireKind(state, 'state', ['fork', 'layers'], 'a state of the engine');
  if (signal !== undefined) requireKind(signal, 'signal', ['aborted'], 'an AbortSignal');
  requireFunction(method, 'method');
}

/**
 * Continues a text and returns the end of it. Errors as `generate`.
 * @example
 * ```ts
 * const { text, tokensPerSecond } = await generateToEnd(engine, { promptTokens: [1, 403, 407], maxTokens: 20 });
 * ```
 */
export async function generateToEnd(engine: StepEngine, options: GenerateOptions): Promise<Generation> {
  for await (const event of generate(engine, options)) {
    if (event.type === 'end') return event.generation;
  }
  throw internalError('generation ended without an end');
}
