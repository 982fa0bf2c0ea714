/** Memory of a session of a model. */
import { stateBytes } from '../../attention/mixers.ts';
import { type AutoregressiveModel, valueWidth } from '../model.ts';

/** Bytes of the states of all layers in float32 after `context` tokens. */
export function modelStateBytes(
  { mixers, sizes }: Pick<AutoregressiveModel, 'mixers' | 'sizes'>,
  context: number,
): number {
  const dims = { ...sizes, valueWidth: valueWidth(sizes) };
  return mixers.reduce((total, mixer) => total + stateBytes(mixer, dims, 4, context), 0);
}
