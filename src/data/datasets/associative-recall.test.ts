/** Rows of MQAR: what they hold, and that each is a function of its visit. */
import { describe, expect, it } from 'vitest';
import { AssociativeRecall } from './associative-recall.ts';

const options = { vocabulary: 64, length: 96, pairs: 8, rows: 50, seed: 3 };

describe('associative recall', () => {
  it('asks every key once, and its value is the label', () => {
    const data = new AssociativeRecall(options);
    for (let index = 0; index < data.rows; index++) {
      const { inputs, labels, weights } = data.row({ row: index, epoch: 0 });
      const reported = new Map(Array.from({ length: 8 }, (_, pair) => [inputs[2 * pair], inputs[2 * pair + 1]]));
      expect(reported.size).toBe(8);
      const asked = [...weights.keys()].filter((at) => weights[at] === 1);
      expect(asked.length).toBe(8);
      expect(new Set(asked.map((at) => inputs[at]))).toEqual(new Set(reported.keys()));
      for (const at of asked) {
        expect(at).toBeGreaterThanOrEqual(16);
        expect(labels[at]).toBe(reported.get(inputs[at]));
        expect(labels[at]).toBeGreaterThanOrEqual(32);
        expect(inputs[at]).toBeLessThan(32);
      }
    }
  });

  it('is repeatable, and new in every epoch and row', () => {
    const data = new AssociativeRecall(options);
    const first = data.row({ row: 1, epoch: 0 });
    expect(new AssociativeRecall(options).row({ row: 1, epoch: 0 })).toEqual(first);
    expect(data.row({ row: 1, epoch: 1 })).not.toEqual(first);
    expect(data.row({ row: 2, epoch: 0 })).not.toEqual(first);
    const { inputs } = data.batch([{ row: 1, epoch: 0 }]);
    expect(inputs.data).toEqual(first.inputs);
  });

  it.each([{ length: 95 }, { pairs: 25 }, { vocabulary: 16 }, { rows: 0 }, { power: 0 }])('refuses %j', (wrong) => {
    expect(() => new AssociativeRecall({ ...options, ...wrong })).toThrow(/expected|enlarge/);
  });
});
