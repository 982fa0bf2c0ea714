/** Replacing one token at a time: what moves with the filter masked and unmasked. */
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { mixerPreset } from '../../attention/presets.ts';
import { loadCausalModel } from '../../checkpoint/load-model.ts';
import { linearize } from '../../models/linearization/linearize.ts';
import { Random } from '../../random.ts';
import { compile } from '../../runtime/compile.ts';
import { randomMixerParameters } from './mixer-probe.ts';
import { tokenInfluence } from './token-influence.ts';

const loaded = await loadCausalModel(fileURLToPath(new URL('../../../assets/tiny-llama', import.meta.url)));
const length = 24;
const tokens = Array.from({ length }, (_, i) => (i * 71 + 5) % 1024);

async function movedBy(unmasked: boolean, layers?: readonly number[]) {
  const mixer = mixerPreset('augmented', { group: 8, kernel: 5, unmasked });
  const { model, parameters } = linearize(loaded.model, loaded.parameters, mixer, layers);
  const own = randomMixerParameters(model, new Random(3));
  const { moved } = await tokenInfluence(model, new Map([...parameters, ...own]), tokens, { compile });
  return (p: number, t: number): number => moved[p * length + t];
}

const pairs = Array.from({ length: length * length }, (_, at) => [Math.floor(at / length), at % length] as const);

it('moves nothing before the replaced token, exactly, and the token itself', async () => {
  const moved = await movedBy(false);
  expect(pairs.filter(([p, t]) => t < p && moved(p, t) !== 0)).toEqual([]);
  expect(pairs.filter(([p, t]) => t === p && moved(p, t) < 0.01)).toEqual([]);
});

it('moves what the filter reaches where one layer of it is unmasked, and twice as far with two', async () => {
  for (const layers of [[2], [1, 3]]) {
    const moved = await movedBy(true, layers);
    const reach = 2 * layers.length;
    expect(pairs.filter(([p, t]) => t < p && moved(p, t) > 0)).toEqual(
      pairs.filter(([p, t]) => t < p && t >= p - reach),
    );
  }
});

it('refuses a text of one token', async () => {
  const given = tokenInfluence(loaded.model, loaded.parameters, [1], { compile });
  await expect(given).rejects.toThrow(expect.objectContaining({ code: 'INPUT' }));
});
