/** Folders in four and eight bits generate with their codes what they generate with the weights that these stand for. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { chain } from '../../src/attention/tree.ts';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import type { StepEngine } from '../../src/decoding/step-engine.ts';
import { open } from '../../src/open/index.ts';
import { quantizedKinds, quantizedModel, saveQuantized } from '../checkpoint/quantized-folder.ts';
import { suiteFolder } from '../scratch-folder.ts';

const place = suiteFolder();
const tokens = [256, 72, 101, 108, 108, 111, 32];

it.each(Object.keys(quantizedKinds))('%s', async (kind) => {
  const folder = join(place, kind);
  await saveQuantized(folder, quantizedModel(kind));
  const { model, parameters } = await loadCausalModel(folder);
  await using exact = await DecodingEngine.create(model, parameters, { threads: 1 });
  await using opened = await open(folder, { threads: 1 });
  const logits = async (engine: Pick<StepEngine, 'newState' | 'step'>): Promise<Float32Array> => {
    const request = { state: engine.newState(), tree: chain(tokens.length), tokens, wanted: [tokens.length - 1] };
    return (await engine.step([request]))[0].logits[0];
  };
  const [expected, found] = [await logits(exact), await logits(await opened.engine())];
  const spread = Math.hypot(...expected);
  const difference = Math.hypot(...expected.map((value, i) => value - found[i]));
  // Activations of eight bits; float8 is computed in float32.
  expect(difference / spread).toBeLessThan(/float8|fp8/.test(kind) ? 1e-6 : 0.03);
  expect(spread).toBeGreaterThan(0.1);
});
