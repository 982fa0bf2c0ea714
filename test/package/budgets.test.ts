/** How many tokens each folder of src, web and bench may have: budgets.json. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { projectRoot } from '../../scripts/entries.ts';
import { tokensByFolder } from '../../scripts/source-tree.ts';

const tokenCount = z.int().nonnegative();
const budgetsSchema = z.strictObject({
  about: z.string(),
  src: tokenCount,
  folders: z.record(z.string(), tokenCount),
  why: z.record(z.string(), z.string()),
});

const budgets = budgetsSchema.parse(JSON.parse(readFileSync(join(projectRoot, 'budgets.json'), 'utf8')));
const tokens = tokensByFolder();

describe('the tokens of the code', () => {
  it('stay within the budget of each folder', () => {
    const over = [...tokens]
      .filter(([folder, count]) => count > (budgets.folders[folder] ?? 0))
      .map(([folder, count]) => `${folder}: ${count} tokens, budgets.json allows ${budgets.folders[folder] ?? 0}`);
    expect(
      over,
      'npx tsx scripts/budgets.ts shows all counts; raise a number in the commit that needs it, with its reason',
    ).toEqual([]);
  });

  it('stay within the total of src', () => {
    const src = [...tokens].filter(([folder]) => folder.startsWith('src/'));
    expect(src.reduce((sum, [, count]) => sum + count, 0)).toBeLessThanOrEqual(budgets.src);
  });
});

describe('the count of tokens', () => {
  it('is by top folder, without comments', () => {
    const file = (path: string, count: number) => ({
      path,
      text: `/** A comment. */\n${'export {};\n'.repeat(count)}`,
    });
    const counted = tokensByFolder([file('src/a/b/c.ts', 3), file('src/a/d.ts', 2), file('web/index.ts', 1)]);
    expect(Object.fromEntries(counted)).toEqual({ 'src/a': 20, 'web/.': 4 });
  });
});
