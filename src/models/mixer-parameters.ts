/** The parameters that a mixer adds to its attention, as families declare them. */
import type { AttentionDims, MixerConfig } from '../attention/mixer.ts';
import { mixerParameters } from '../attention/mixers.ts';
import type { ParameterInit } from '../attention/parameter-init.ts';
import type { DeclaredParameters, InitialValues, ParameterRole } from '../nn/parameters.ts';

/** A mixer parameter's role, by its initialization. */
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

/** New models' initial values where they differ: sink logits as in gpt-oss, since a gradient hardly moves an inaudible one. */
const initials: Readonly<Partial<Record<ParameterInit, InitialValues>>> = { inaudible: { normal: 0.02 } };

/** A mixer's parameters by their names inside the attention. */
export function declareMixer(mixer: MixerConfig, dims: AttentionDims): DeclaredParameters {
  return new Map(
    mixerParameters(mixer, dims).map(({ name, shape, init }) => [
      name,
      { shape, role: roles[init], initial: initials[init] },
    ]),
  );
}
