/** How to generate a text: options for users and for programs that run texts for others, and the sampler they make. */
import type { DecodingMethod } from '../decoding/method.ts';
import { Sampler, samplerFields, type SamplerInput, type TokenConstraint } from '../decoding/sampler.ts';
import { type DrafterName, drafters } from '../decoding/speculation/drafters/registry.ts';
import { LinnetError } from '../errors.ts';
import {
  type OptionKind,
  requireCount,
  requireFunction,
  requireKind,
  requireOptions,
  requireTexts,
  requireTokens,
  requireWhole,
} from '../files/arguments.ts';
import type { AutoregressiveModel } from '../models/model.ts';
import type { TextEvent, TextJob } from './text-job.ts';

/** How to generate a text. Without sampling options it is greedy: every token is the most probable one. */
export interface TextOptions extends SamplerInput {
  /** Most tokens to produce. Default 128. */
  readonly maxTokens?: number;
  /** Strings that end the text and are not part of it. */
  readonly stop?: readonly string[];
  /** Tokens that end the text besides EOS. */
  readonly stopIds?: readonly number[];
  /** Treats EOS as an ordinary token. Default false. */
  readonly ignoreEos?: boolean;
  /**
   * A parsed JSON schema: the text is JSON that it accepts, unless `maxTokens` cuts it short. `{ type: 'object' }` accepts any
   * object. Not with `ignoreEos`.
   */
  readonly jsonSchema?: unknown;
  /**
   * Most thinking tokens before a conversation's answer, after which their closing mark follows; 0 prevents thinking. Default:
   * any number. Models without thoughts ignore it.
   */
  readonly thinkingBudget?: number;
  /** Ends the text between two steps; the text so far is the result. */
  readonly signal?: AbortSignal;
  /** How to decode, for example `speculative(lookupDrafter())`. Default: see `speculate`. */
  readonly method?: DecodingMethod;
  /** Drafts when that is faster; learns from the model's texts. Default: the runner's, `off` for a session without one. */
  readonly speculate?: DrafterName;
  /** Called with every event, including the prompt's progress. */
  readonly onEvent?: (event: TextEvent) => void;
}

/** Options for a program that runs texts for others. */
export interface JobOptions
  extends TextOptions,
    Omit<TextJob, keyof TextOptions | 'prompt' | 'sampling' | 'drafter' | 'state'> {
  /** Sampling where neither the other options nor the model's defaults set anything. Default: greedy. */
  readonly defaults?: SamplerInput;
  /** Whether a stop string that ends the text is part of it. Default false. */
  readonly keepsStop?: boolean;
  /** Tokens before an empty session's prompt, which no state has read. Default: none. */
  readonly after?: readonly number[];
  /** Whether a text begins with BOS. Default: as the tokenizer's files say. */
  readonly bos?: boolean;
}

/** Kinds of the options that are no sampling settings, which `Sampler` checks. */
export const textOptionKinds: Readonly<Record<Exclude<keyof TextOptions, keyof SamplerInput>, OptionKind>> = {
  maxTokens: true,
  stop: requireTexts,
  stopIds: requireTokens,
  ignoreEos: true,
  jsonSchema(value, name) {
    if (typeof value !== 'boolean') requireOptions(value, name);
  },
  thinkingBudget: requireWhole,
  signal(value, name) {
    requireKind(value, name, ['aborted'], 'an AbortSignal');
  },
  method: requireFunction,
  speculate: drafters,
  onEvent: requireFunction,
};

/** @throws LinnetError `INPUT` for unknown options and values of the wrong kind */
export function checkTextOptions(options: TextOptions): void {
  const kinds = { ...textOptionKinds, maxTokens: requireCount };
  requireOptions(options, 'the options', kinds, { ...samplerFields, ...kinds });
}

/** Checks a text that ignores EOS. @throws LinnetError `INPUT` if a grammar ends it with EOS */
export function requireEnding({ jsonSchema, constraint }: JobOptions): void {
  if ((jsonSchema ?? constraint) === undefined) return;
  throw new LinnetError('INPUT', 'JSON and calls end with EOS; leave out `ignoreEos`');
}

/** Layered sampling settings: for each setting the first layer that has it counts. */
export function samplingOver(...layers: readonly SamplerInput[]): SamplerInput {
  const settings: Record<string, SamplerInput[keyof SamplerInput]> = {};
  for (const layer of layers) for (const name of Object.values(samplerFields)) settings[name] ??= layer[name];
  return settings;
}

/** A text's sampler. @throws LinnetError `CONFIG` for settings out of range */
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
    // The repetition penalty always counts the prompt.
    penalizedFrom: penalizes === 'answer' && (sampling.repetitionPenalty ?? 1) === 1 ? from : 0,
  });
}
