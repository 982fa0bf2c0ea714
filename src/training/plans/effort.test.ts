/** Trainings that cannot end are refused before they begin, and long ones are announced. */
import { describe, expect, it } from 'vitest';
import { refusal } from '../../../test/error-code.ts';
import { paceWarning, requireFewSteps } from './plan.ts';

describe('a training', () => {
  it('of a billion optimizer steps is refused', () => {
    expect(() => requireFewSteps(10_000_000)).not.toThrow();
    expect(() => requireFewSteps(1e9)).toThrow(refusal('CONFIG', '1,000,000,000 optimizer steps'));
  });

  it('of many days is announced', () => {
    expect(paceWarning(0.5, 1000)).toBeUndefined();
    expect(paceWarning(Number.NaN, 1000)).toBeUndefined();
    expect(paceWarning(2, 864_000)).toMatch(/the remaining 864,000 steps take about 20 days/);
  });
});
