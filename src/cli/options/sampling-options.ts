/** Options of how tokens are chosen. */
import type { SamplerInput } from '../../decoding/sampler.ts';
import { settings, withDefault } from '../framework/command.ts';
import { decimal, integer } from '../framework/option-values.ts';

/** All of them but the seed, which says something else in every command. */
export const samplingOptions = {
  temperature: withDefault(decimal(0, 100), 0, '0 takes the most probable token; higher is more random'),
  topP: withDefault(decimal(1e-9, 1, 'share'), 1, 'choose among the most probable tokens that add up to this share'),
  ...settings({
    topK: withDefault(integer(0, 1 << 24), 0, 'choose among this many most probable tokens; 0 is all'),
    minP: withDefault(decimal(0, 1, 'share'), 0, 'leave out tokens below this share of the highest probability'),
    repetitionPenalty: withDefault(decimal(0.01, 100, 'factor'), 1, 'above 1: tokens of the last 64 are less probable'),
    presencePenalty: withDefault(decimal(-100, 100), 0, 'taken off the logits of tokens that are among the last 64'),
    frequencyPenalty: withDefault(decimal(-100, 100), 0, 'taken off them for each time that a token is there'),
  }),
};

export function samplerOf(options: SamplerInput): SamplerInput {
  const { temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty, seed } = options;
  return { temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty, seed };
}
