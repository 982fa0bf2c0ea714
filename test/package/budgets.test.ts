/** How many lines each folder of src may have: budgets.json. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { projectRoot } from '../../scripts/entries.ts';
import { linesByFolder } from '../../scripts/source-tree.ts';

const lineCount = z.int().nonnegative();
const budgetsSchema = z.strictObject({
  about: z.string(),
  total: lineCount,
  folders: z.record(z.string(), lineCount),
  why: z.record(z.string(), z.string()),
});

const budgets = budgetsSchema.parse(JSON.parse(readFileSync(join(projectRoot, 'budgets.json'), 'utf8')));
const lines = linesByFolder();

describe('the lines of src', () => {
  it('stay within the budget of each folder', () => {
    const over = [...lines]
      .filter(([folder, count]) => count > (budgets.folders[folder] ?? 0))
      .map(([folder, count]) => `src/${folder}: ${count} lines, budgets.json allows ${budgets.folders[folder] ?? 0}`);
    expect(over).toEqual([]);
  });

  it('stay within the total', () => {
    expect([...lines.values()].reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(budgets.total);
  });
});

describe('the count of lines', () => {
  it('is by top folder', () => {
    const file = (path: string, count: number) => ({ path, text: 'export {};\n'.repeat(count) });
    const counted = linesByFolder([file('src/a/b/c.ts', 3), file('src/a/d.ts', 2), file('src/index.ts', 1)]);
    expect(Object.fromEntries(counted)).toEqual({ a: 5, '.': 1 });
  });
});
