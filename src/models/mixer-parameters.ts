/** The parameters that a mixer adds to its attention, as families declare them. */
import type { AttentionDims, MixerConfig } from '../attention/mixer.ts';
import { mixerParameters } from '../attention/mixers.ts';
import type { ParameterInit } from '../attention/parameter-init.ts';
import type { DeclaredParameters, InitialValues, ParameterRole } from '../nn/parameters.ts';

/** Role of a mixer's parameter, by its initialization. */
const roles: Readonly<Record<ParameterInit, ParameterRole>> = {
  zeros: 'mixer',
  ones: 'mixer',
  faint: 'mixer',
  inaudible: 'mixer',
  slopes: 'mixer',
  means: 'mixer',
  identity: 'mixer',
  averages: 'mixer matrix',
};

/** Where models that are made anew begin elsewhere: sink logits as in gpt-oss, since a gradient hardly moves an inaudible one. */
const initials: Readonly<Partial<Record<ParameterInit, InitialValues>>> = { inaudible: { normal: 0.02 } };

/** The parameters of a mixer by their names inside the attention. */
export function declareMixer(mixer: MixerConfig, dims: AttentionDims): DeclaredParameters {
  return new Map(
    mixerParameters(mixer, dims).map(({ name, shape, init }) => [
      name,
      { shape, role: roles[init], initial: initials[init] },
    ]),
  );
}
