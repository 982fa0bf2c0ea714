/** Filters against lm-evaluation-harness. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { thirdParty } from '../fixtures.ts';
import { exactMatch } from '../../src/evaluation/tasks/metrics/exact-match.ts';
import { selectTasks } from '../../src/evaluation/tasks/registry.ts';
import { makeFilter } from '../../src/evaluation/tasks/filters/filter.ts';
import { parseNumber } from '../../src/evaluation/tasks/filters/number-words.ts';

const fixture = thirdParty('evaluation/golden/bbh_filters.json');
const item = z.object({
  task: z.string(),
  input: z.string(),
  target: z.string(),
  response: z.string(),
  by_filter: z.record(z.string(), z.object({ filtered: z.string(), exact_match: z.number() })),
});

describe.skipIf(fixture === undefined)('filters of BBH (need the third-party fixtures)', () => {
  const items =
    fixture === undefined
      ? []
      : z.object({ items: z.array(item) }).parse(JSON.parse(readFileSync(fixture, 'utf8'))).items;
  it.each(items)('$task: $response', ({ task: name, input, target, response, by_filter: expected }) => {
    const [task] = selectTasks([name]).tasks;
    for (const [filter, { filtered, exact_match: matched }] of Object.entries(expected)) {
      const list = task.filter_list?.find((one) => one.name === filter)?.filter ?? [];
      const text = list.map(makeFilter).reduce((given, apply) => apply(given, { input }), response);
      expect(text).toBe(filtered);
      const [metric] = task.metric_list;
      expect(Number(exactMatch(text, target, metric))).toBe(matched);
    }
  });
});

it('reads numbers in words', () => {
  const read = (text: string): string | undefined => parseNumber(text, -1);
  expect(read('twenty-three')).toBe('3'); // a dash separates phrases, of which the last counts
  expect(read('two hundred and forty one')).toBe('241');
  expect(read('one million two hundred thousand and five')).toBe('1200005');
  expect(read('no number at all: xyz')).toBeUndefined();
  expect(parseNumber('six of sixteen', 0)).toBe('6');
});
