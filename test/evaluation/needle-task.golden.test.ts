/** The wording of the tasks is that of RULER: against questions that its own code made. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { thirdParty } from '../fixtures.ts';
import { Random } from '../../src/random.ts';
import { needleTasks, type NeedleTaskName } from '../../src/studies/needle/task.ts';

const folder = thirdParty('evaluation');

const sampleSchema = z.object({ input: z.string(), answer_prefix: z.string(), outputs: z.array(z.string()) });
const goldenSchema = z.object({ tasks: z.record(z.string(), z.object({ samples: z.array(sampleSchema) })) });

/** Ours, and RULER's of the same form. */
const pairs: readonly (readonly [NeedleTaskName, string])[] = [
  ['single', 'niah_single_2'],
  ['multi-key', 'niah_multikey_1'],
  ['multi-value', 'niah_multivalue'],
  ['multi-query', 'niah_multiquery'],
];

/** The same with other names and numbers: how many names there are stays to be seen. */
function unnamed(text: string): string {
  return text.replace(/\b[a-z]+-[a-z]+\b/g, 'name').replace(/\d{7}/g, 'number');
}

describe.skipIf(folder === undefined)('the words of RULER (need the third-party fixtures)', () => {
  it.each(pairs)('%s asks as %s does', (task, theirs) => {
    const golden = goldenSchema.parse(JSON.parse(readFileSync(join(folder ?? '', 'recall/niah.json'), 'utf8')));
    const { samples } = golden.tasks[theirs];
    expect(samples.length).toBeGreaterThan(0);
    for (const { input, answer_prefix: beginning, outputs } of samples) {
      const { opening, question, needles, others, answers } = needleTasks[task].draw(new Random(1));
      expect(input.startsWith(opening)).toBe(true);
      expect(unnamed(question)).toBe(unnamed(input.slice(input.lastIndexOf('\n')) + beginning));
      expect(answers).toHaveLength(outputs.length);
      const hidden = [...input.matchAll(/One of the special magic numbers for \S+ is: \d{7}\./g)].map(([all]) => all);
      expect([...needles, ...others].map(unnamed)).toEqual(hidden.map(unnamed));
    }
  });
});
