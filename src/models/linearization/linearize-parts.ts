/** Swapping the mixers of a model with an encoder and a decoder, part by part. */
import type { MixerConfig } from '../../attention/mixer.ts';
import { betweenTexts } from '../../attention/mixers.ts';
import { LinnetError } from '../../errors.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { linearize } from './linearize.ts';
import type { AttentionPart } from '../linnet-section.ts';
import type { EncoderDecoderModel } from '../model.ts';

/** Parts that are linearized by default: cross attention costs the least and loses the most. */
export const defaultParts: readonly AttentionPart[] = ['encoder', 'decoder'];

/**
 * `linearize` for the attentions of some parts.
 * @param layers of each part, counted from 0; default all
 * @throws LinnetError `CONFIG` for a layer that a part does not have or a mixer that it cannot have, `TENSOR` as `linearize`
 */
export function linearizeParts(
  model: EncoderDecoderModel,
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  mixerOf: (part: AttentionPart) => MixerConfig,
  { parts = defaultParts, layers }: { readonly parts?: readonly AttentionPart[]; readonly layers?: readonly number[] },
): { model: EncoderDecoderModel; parameters: Map<string, Tensor<'float32'>> } {
  let result = { model, parameters: new Map(parameters) };
  for (const part of parts) {
    const own = model.attentions.flatMap((attention, index) =>
      attention.part === part ? [{ ...attention, index }] : [],
    );
    const missing = layers?.find((layer) => layer >= own.length);
    if (missing !== undefined) {
      throw new LinnetError(
        'CONFIG',
        `there is no layer ${missing} in ${part} attention; its layers are 0 to ${own.length - 1}`,
      );
    }
    const chosen = own.filter(({ layer }) => layers === undefined || layers.includes(layer)).map(({ index }) => index);
    const mixer = mixerOf(part);
    result = linearize(result.model, result.parameters, part === 'cross' ? betweenTexts(mixer) : mixer, chosen);
  }
  return result;
}
