/** Training with a leak collapses the loss and teaches nothing (paper, Figure 4); the mask prevents it. */
import { describe, expect, it } from 'vitest';
import type { RunTrialsOptions } from '../../src/studies/frame/run-study.ts';
import { leakStudy, reportLeak } from '../../src/studies/leak/study.ts';
import type { LeakRun, LeakTraining } from '../../src/studies/leak/training.ts';

async function leakRuns(plan: object, options: RunTrialsOptions<LeakTraining> = {}) {
  await using study = await leakStudy.open(plan);
  return await study.runTrials(options);
}

function endLoss({ points }: LeakRun): number {
  const last = points.slice(-10);
  return last.reduce((total, { loss }) => total + loss, 0) / last.length;
}

describe('the leak demonstration', () => {
  it('has degrees of masking between both ends', async () => {
    const steps = 4;
    const [masked, unmasked] = await leakRuns({ steps, seeds: [3] });
    const runs = await leakRuns({ strengths: [0, 0.5, 1], seeds: [3], steps });
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

  it('refuses degrees that are none, and no steps at all', async () => {
    await expect(leakRuns({ strengths: [1.1] })).rejects.toMatchObject({ code: 'CONFIG' });
    await expect(leakRuns({ steps: 0 })).rejects.toMatchObject({ code: 'CONFIG' });
  });

  it('shows the collapse of an unmasked convolution, and that it is worthless', async () => {
    // By 120 the collapse is still under way, how far depends on how the processor rounds.
    const steps = 160;
    const results = await leakRuns({ steps, seeds: [3] });
    const [masked, unmasked] = results;
    // Both start from the same weights with taps of zero, on the same batch: at log 258 = 5.55.
    expect(unmasked.points[0]).toEqual(masked.points[0]);
    expect(masked.points[0].loss).toBeGreaterThan(5.4);
    expect(masked.points.map(({ step }) => step)).toEqual(Array.from({ length: steps }, (_, i) => i + 1));
    // What a masked model learns in so few steps lies between single letters (3.1) and words (2.0).
    expect(endLoss(masked)).toBeGreaterThan(2);
    expect(endLoss(masked)).toBeLessThan(3);
    expect(endLoss(unmasked)).toBeLessThan(0.5 * endLoss(masked));
    expect(masked.nextByteLoss).toBeLessThan(unmasked.nextByteLoss);

    const { charts } = await reportLeak(results);
    const { svg } = charts?.leak ?? { svg: '' };
    expect(svg).toContain('unmasked');
    expect(svg.startsWith('<svg')).toBe(true);
  });

  it('repeats exactly, reports progress and stops on request', async () => {
    const run = async (): Promise<number[]> => (await leakRuns({ steps: 3, seeds: [3] }))[0].points.map((p) => p.loss);
    expect(await run()).toEqual(await run());
    const controller = new AbortController();
    const seen: string[] = [];
    const running = leakRuns(
      { steps: 4 },
      {
        signal: controller.signal,
        onUpdate: (_, { update, total }, done) => {
          seen.push(`${done} ${update}/${total}`);
          if (update === 2) controller.abort();
        },
      },
    );
    await expect(running).rejects.toMatchObject({ code: 'ABORTED' });
    expect(seen).toEqual(['0 1/4', '0 2/4']);
  });
});
