/** Options of how tokens are chosen. */
import { optional, settings, withDefault } from '../framework/command.ts';
import { decimal, integer } from '../framework/option-values.ts';

/** All of them but the seed, which says something else in every command. Absent ones are the model's. */
export const samplingOptions = {
  temperature: optional(
    decimal(0, 100),
    `0 takes the most probable token; higher is more random (default: ${ofModel('0')})`,
  ),
  topP: optional(
    decimal(1e-9, 1, 'share'),
    `sample from the most probable tokens that together reach this probability (default: ${ofModel('1')})`,
  ),
  ...settings({
    topK: optional(
      integer(0, 1 << 24),
      `sample from this many most probable tokens; 0 is all (default: ${ofModel('0')})`,
    ),
    minP: optional(
      decimal(0, 1, 'share'),
      `drop tokens below this share of the highest probability (default: ${ofModel('0')})`,
    ),
    repetitionPenalty: optional(
      decimal(0.01, 100, 'factor'),
      `above 1, makes the last 64 tokens less probable (default: ${ofModel('1')})`,
    ),
    presencePenalty: withDefault(decimal(-100, 100), 0, 'subtract this from the logits of tokens among the last 64'),
    frequencyPenalty: withDefault(
      decimal(-100, 100),
      0,
      'subtract this from those logits for each occurrence of the token',
    ),
  }),
};

/** What help says of a default that generation_config.json may have. */
function ofModel(otherwise: string): string {
  return `generation_config.json's, else ${otherwise}`;
}
