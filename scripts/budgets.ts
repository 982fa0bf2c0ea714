/**
 * Prints each folder's tokens in src, web and bench next to its budget. With --write, lowers the numbers in budgets.json for folders that
 * have shrunk; never raises one.
 *
 *     npx tsx scripts/budgets.ts [--write]
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { projectRoot } from './entries.ts';
import { tokensByFolder } from './source-tree.ts';

const path = join(projectRoot, 'budgets.json');
const schema = z.looseObject({ src: z.number(), folders: z.record(z.string(), z.number()) });

const budgets = schema.parse(JSON.parse(readFileSync(path, 'utf8')));
const tokens = tokensByFolder();
const src = [...tokens].reduce((sum, [folder, count]) => sum + (folder.startsWith('src/') ? count : 0), 0);
for (const folder of new Set([...Object.keys(budgets.folders), ...tokens.keys()])) {
  console.log(`${folder.padEnd(18)} ${tokens.get(folder) ?? 0} of ${budgets.folders[folder] ?? 0}`);
}
console.log(`${'src'.padEnd(18)} ${src} of ${budgets.src}`);

if (process.argv.includes('--write')) {
  const lowered = Object.entries(budgets.folders)
    .filter(([folder]) => tokens.has(folder))
    .map(([folder, most]) => [folder, Math.min(most, tokens.get(folder) ?? 0)] as const);
  const next = { ...budgets, src: Math.min(budgets.src, src), folders: Object.fromEntries(lowered) };
  writeFileSync(path, `${JSON.stringify(next, undefined, 2)}\n`);
}
