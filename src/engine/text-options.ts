/** How a text is generated: the options of users and of programs that run texts for others, and the sampler that they make. */
import type { DecodingMethod } from '../decoding/method.ts';
import { Sampler, samplerFields, type SamplerInput, type TokenConstraint } from '../decoding/sampler.ts';
import { type DrafterName, drafters } from '../decoding/speculation/drafters/registry.ts';
import { LinnetError } from '../errors.ts';
import {
  requireCount,
  requireFunction,
  requireKind,
  requireOneOf,
  requireOptions,
  requireTexts,
  requireTokens,
} from '../files/arguments.ts';
import type { AutoregressiveModel } from '../models/model.ts';
import type { TextEvent, TextJob } from './text-job.ts';

/** How a text is generated. Without sampling options it is greedy: every token is the most probable one. */
export interface TextOptions extends SamplerInput {
  /** Most tokens to produce. Default 128. */
  readonly maxTokens?: number;
  /** Strings that end the text; they are not part of it. */
  readonly stop?: readonly string[];
  /** Tokens that end the text besides EOS. */
  readonly stopIds?: readonly number[];
  /** Treats the model's EOS tokens as ordinary ones. Default false. */
  readonly ignoreEos?: boolean;
  /**
   * A JSON schema, parsed: the text is JSON that it accepts, unless `maxTokens` cuts it short. `{ type: 'object' }` accepts
   * any object. Not with `ignoreEos`.
   */
  readonly jsonSchema?: unknown;
  /**
   * Most tokens of thoughts before the answer to a conversation, after which their closing mark comes; 0 keeps the model from them.
   * Default: any number. It has no meaning for models without thoughts.
   */
  readonly thinkingBudget?: number;
  /** Ends the text between two steps; the text so far is the result. */
  readonly signal?: AbortSignal;
  /** How tokens are decoded, `speculative(lookupDrafter())` for example. Default: as `speculate` says. */
  readonly method?: DecodingMethod;
  /** What drafts where that is faster; it learns from the texts of the model. Default: the runner's, `off` of a session alone. */
  readonly speculate?: DrafterName;
  /** Called with everything that happens, the progress of the prompt included. */
  readonly onEvent?: (event: TextEvent) => void;
}

/** Options of a program that runs texts for others. */
export interface JobOptions
  extends TextOptions,
    Omit<TextJob, keyof TextOptions | 'prompt' | 'sampling' | 'drafter' | 'state'> {
  /** Sampling where neither the other options nor the model's defaults say anything. Default: greedy. */
  readonly defaults?: SamplerInput;
  /** Whether the stop string that ends the text is part of it. Default false. */
  readonly keepsStop?: boolean;
  /** Tokens before the prompt of an empty session, which no state has read. Default: none. */
  readonly after?: readonly number[];
  /** Whether a text begins with BOS. Default: as the tokenizer's files say. */
  readonly bos?: boolean;
}

const textOptionNames: Readonly<Record<keyof TextOptions, unknown>> = {
  ...samplerFields,
  maxTokens: true,
  stop: true,
  stopIds: true,
  ignoreEos: true,
  jsonSchema: true,
  thinkingBudget: true,
  signal: true,
  method: true,
  speculate: true,
  onEvent: true,
};

/** @throws LinnetError `INPUT` for options that do not exist, and for values of the wrong type */
export function checkTextOptions(options: TextOptions): void {
  requireOptions(options, 'the options', textOptionNames);
  const { maxTokens, stop, stopIds, thinkingBudget, signal, method, speculate, onEvent } = options;
  if (maxTokens !== undefined) requireCount(maxTokens, 'maxTokens');
  if (thinkingBudget !== undefined && thinkingBudget !== 0) requireCount(thinkingBudget, 'thinkingBudget');
  if (stop !== undefined) requireTexts(stop, 'stop');
  if (stopIds !== undefined) requireTokens(stopIds, 'stopIds');
  if (signal !== undefined) requireKind(signal, 'signal', ['aborted'], 'an AbortSignal');
  requireFunction(method, 'method');
  requireOneOf(speculate, 'speculate', drafters);
  requireFunction(onEvent, 'onEvent');
}

/** For a text that ignores EOS. @throws LinnetError `INPUT` where a grammar ends it with EOS */
export function requireEnding({ jsonSchema, constraint }: JobOptions): void {
  if ((jsonSchema ?? constraint) === undefined) return;
  throw new LinnetError('INPUT', 'JSON and calls end with EOS; leave out `ignoreEos`');
}

/** Sampling settings laid over others: of each setting the first layer that has it counts. */
export function samplingOver(...layers: readonly SamplerInput[]): SamplerInput {
  const settings: Record<string, SamplerInput[keyof SamplerInput]> = {};
  for (const layer of layers) for (const name of Object.values(samplerFields)) settings[name] ??= layer[name];
  return settings;
}

/** The sampler of a text. @throws LinnetError `CONFIG` for settings out of range */
export function jobSampler(job: TextJob, { eosIds, sizes }: AutoregressiveModel, choice = 0): Sampler {
  const { sampling = {}, random, constraint, leastTokens = 0, prompt, stop, ignoreEos, penalizes } = job;
  if (sampling instanceof Sampler) return sampling;
  const from = prompt.tokens.length;
  const ends = [...(stop?.tokenIds ?? []), ...(ignoreEos === true ? [] : eosIds)];
  const going = new Uint8Array(leastTokens > 0 ? sizes.vocabulary : 0).fill(1);
  for (const id of ends) going[id] = 0;
  const least: TokenConstraint = (text) => (text.length - from < leastTokens ? going : undefined);
  const seed = choice === 0 ? sampling.seed : ((sampling.seed ?? 0) + choice) >>> 0;
  return new Sampler({ ...sampling, seed }, random, {
    constraint: constraint?.after(from) ?? (leastTokens > 0 && ends.length > 0 ? least : undefined),
    // The repetition penalty counts the prompt in any case.
    penalizedFrom: penalizes === 'answer' && (sampling.repetitionPenalty ?? 1) === 1 ? from : 0,
  });
}
