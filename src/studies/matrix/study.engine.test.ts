import { describe, expect, it } from 'vitest';
import { Random } from '../../random.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { supportedFamilies } from '../../models/families/index.ts';
import { supportProbes } from './probes.ts';
import { runBackward, runForward } from './forward.ts';
import type { SupportRow } from './cells.ts';
import { matrixStudy } from './study.ts';

async function supportMatrix(plan: object): Promise<SupportRow[]> {
  await using study = await matrixStudy.open(plan);
  return await study.runTrials();
}

describe('supportMatrix', () => {
  it('has a probe of every family', () => {
    expect([...new Set(supportProbes.map(({ family }) => family))].sort()).toEqual([...supportedFamilies].sort());
  });

  it('runs mixers forwards, backwards and decoding', async () => {
    const rows = await supportMatrix({ families: ['llama'], mixers: ['softmax', 'augmented'] });
    const works = { forward: true, backward: true, decode: true };
    const absent = { forward: null, backward: null, decode: null, maxError: null };
    expect(rows).toMatchObject([
      { mixer: 'softmax', convolution: false, ...works },
      { mixer: 'softmax', convolution: true, ...absent },
      { mixer: 'augmented', convolution: false, ...absent },
      { mixer: 'augmented', convolution: true, ...works },
    ]);
    for (const { maxError, forward } of rows) if (forward === true) expect(maxError).toBeLessThan(1e-5);
  });

  it('takes linformer in the form that each attention of T5 has', async () => {
    const rows = await supportMatrix({ families: ['t5'], mixers: ['linformer'] });
    const works = { forward: true, backward: true, decode: true };
    expect(rows).toMatchObject([
      { direction: 'bidirectional', convolution: false, ...works },
      { direction: 'bidirectional', convolution: true, ...works },
      { direction: 'causal', convolution: false, ...works },
      { direction: 'causal', convolution: true, ...works },
      { direction: 'cross', convolution: false, ...works },
      { direction: 'cross', convolution: true, forward: null },
    ]);
    for (const { maxError, forward } of rows) if (forward === true) expect(maxError).toBeLessThan(1e-5);
  });
});

describe('the forward and backward runs', () => {
  const llama = supportProbes.find(({ family }) => family === 'llama');
  const texts = { first: [Int32Array.of(1, 2, 3, 4, 5, 6, 7), Int32Array.of(8, 9, 10)], second: [] };

  it('cut the padding off', async () => {
    const model = llama?.model(mixerPreset('softmax'));
    if (model === undefined) throw new Error('no llama');
    const rows = await runForward(model, initializeParameters(model, new Random(1), 0.4), texts);
    expect(rows.map(({ length }) => length)).toEqual([7 * 19, 3 * 19]);
  });

  it('tell a wrong gradient from a right one', async () => {
    const model = llama?.model(mixerPreset('yoso', { bits: 3 }));
    if (model === undefined) throw new Error('no llama');
    const parameters = initializeParameters(model, new Random(1), 0.4);
    const found = await runBackward(model, parameters, texts, new Random(2));
    // YOSO's own gradient is a bound of the derivative: finite, and not what finite differences give.
    expect(found.finite).toBe(true);
    expect(Math.abs(found.gradient - found.difference)).toBeGreaterThan(2e-2 * found.magnitude);
  });
});
