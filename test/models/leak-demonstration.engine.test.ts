/** Training with a leak collapses the loss and teaches nothing (paper, Figure 4); the mask prevents it. */
import { describe, expect, it } from 'vitest';
import { leakDemonstration, type LeakRun, maskStrengthRuns } from '../../src/studies/leak-demonstration.ts';
import { leakFigure } from '../../src/studies/leak-figure.ts';

function endLoss({ points }: LeakRun): number {
  const last = points.slice(-10);
  return last.reduce((total, { loss }) => total + loss, 0) / last.length;
}

describe('maskStrengthRuns', () => {
  it('is the demonstration at both ends, and something else between', async () => {
    const steps = 4;
    const { masked, unmasked } = await leakDemonstration({ steps, seed: 3 });
    const runs = await maskStrengthRuns({ strengths: [0, 0.5, 1], seeds: [3], steps });
    expect(runs.map(({ strength, seed }) => [strength, seed])).toEqual([
      [0, 3],
      [0.5, 3],
      [1, 3],
    ]);
    expect(runs[0].points).toEqual(unmasked.points);
    expect(runs[2].points).toEqual(masked.points);
    expect(runs[2].nextByteLoss).toBe(masked.nextByteLoss);
    // Filters are zero before the first update, so that the first loss tells nothing.
    expect(runs[1].points[0].loss).toBe(runs[2].points[0].loss);
    expect(runs[1].points[3].loss).not.toBe(runs[0].points[3].loss);
    expect(runs[1].points[3].loss).not.toBe(runs[2].points[3].loss);
  });

  it('refuses degrees that are none', async () => {
    await expect(maskStrengthRuns({ strengths: [1.1], seeds: [1] })).rejects.toMatchObject({ code: 'INPUT' });
  });
});

describe('leakDemonstration', () => {
  it('shows the collapse of an unmasked convolution, and that it is worthless', async () => {
    // By 120 the collapse is still under way, how far depends on how the processor rounds.
    const steps = 160;
    const result = await leakDemonstration({ steps, seed: 3 });
    const { masked, unmasked } = result;
    // Both start from the same weights with taps of zero, on the same batch: at log 258 = 5.55.
    expect(unmasked.points[0]).toEqual(masked.points[0]);
    expect(masked.points[0].loss).toBeGreaterThan(5.4);
    expect(masked.points.map(({ step }) => step)).toEqual(Array.from({ length: steps }, (_, i) => i + 1));
    // What a masked model learns in so few steps lies between single letters (3.1) and words (2.0).
    expect(endLoss(masked)).toBeGreaterThan(2);
    expect(endLoss(masked)).toBeLessThan(3);
    expect(endLoss(unmasked)).toBeLessThan(0.5 * endLoss(masked));
    expect(masked.nextByteLoss).toBeLessThan(unmasked.nextByteLoss);

    const { svg } = await leakFigure(result);
    expect(svg).toContain('unmasked');
    expect(svg.startsWith('<svg')).toBe(true);
  });

  it('repeats exactly, reports progress and stops on request', async () => {
    const run = async (): Promise<number[]> => (await leakDemonstration({ steps: 3 })).masked.points.map((p) => p.loss);
    expect(await run()).toEqual(await run());
    const controller = new AbortController();
    const seen: string[] = [];
    const running = leakDemonstration({
      steps: 4,
      signal: controller.signal,
      onProgress: ({ run: name, point, steps }) => {
        seen.push(`${name} ${point.step}/${steps}`);
        if (point.step === 2) controller.abort();
      },
    });
    await expect(running).rejects.toMatchObject({ code: 'ABORTED' });
    expect(seen).toEqual(['masked 1/4', 'masked 2/4']);
  });

  it('refuses no steps at all', async () => {
    await expect(leakDemonstration({ steps: 0 })).rejects.toMatchObject({ code: 'INPUT' });
  });
});
