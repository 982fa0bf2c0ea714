/** Trainings that cannot end are refused before they begin, and long ones are announced. */
import { describe, expect, it } from 'vitest';
import { refusal } from '../../../test/error-code.ts';
import { tinyConfig } from '../../../test/models/tiny-model.ts';
import { describeModel } from '../../models/families/index.ts';
import { parseTrainingSettings } from '../settings.ts';
import { leastStepBytes, paceWarning, requireFeasible } from './effort.ts';

const model = describeModel(tinyConfig('llama'));
const settings = (length: number, microBatch = 1) => parseTrainingSettings({ length, batch: microBatch, microBatch });
const gigabyte = 2 ** 30;

describe('a training', () => {
  it('of a billion optimizer steps is refused', () => {
    expect(requireFeasible(model, settings(64), 10_000_000, gigabyte)).toBeUndefined();
    expect(() => requireFeasible(model, settings(64), 1e9, gigabyte)).toThrow(
      refusal('CONFIG', '1,000,000,000 optimizer steps'),
    );
  });

  it('whose step cannot fit into memory is refused with what it takes, or announced', () => {
    // Two softmax layers of two heads: 2·2·4 bytes for each pair of 10,000 positions are 1.5 GiB.
    const needed = leastStepBytes(model, settings(10_000));
    expect(needed / gigabyte).toBeCloseTo(1.5, 1);
    expect(() => requireFeasible(model, settings(10_000), 10, 0.7 * gigabyte)).toThrow(
      /at least 1\.\d+ GiB of memory \(micro-batches of 1 × 10,000 tokens\), and there are 7\d\d MiB/,
    );
    expect(requireFeasible(model, settings(10_000), 10, gigabyte)).toMatch(/it will be slow or fail/);
    expect(requireFeasible(model, settings(10_000), 10, 2 * gigabyte)).toBeUndefined();
    expect(leastStepBytes(model, settings(1000, 4))).toBeGreaterThan(3 * leastStepBytes(model, settings(1000)));
  });

  it('of many days is announced', () => {
    expect(paceWarning(0.5, 1000)).toBeUndefined();
    expect(paceWarning(Number.NaN, 1000)).toBeUndefined();
    expect(paceWarning(2, 864_000)).toMatch(/864,000 steps that are left take about 20 days/);
  });
});
