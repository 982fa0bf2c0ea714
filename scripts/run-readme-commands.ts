/**
 * Runs the marked shell blocks of README.md, examples/README.md and docs/ in order, so that no page shows a command that fails.
 * scripts/markdown-commands.ts explains the marks.
 *
 *     npx tsx scripts/run-readme-commands.ts
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { markedCommands } from './markdown-commands.ts';

const docs = existsSync('docs') ? readdirSync('docs', { recursive: true, encoding: 'utf8' }) : [];
const pages = [
  'README.md',
  'examples/README.md',
  ...docs
    .filter((name) => name.endsWith('.md'))
    .sort()
    .map((name) => `docs/${name}`),
];
const blocks = pages
  .filter((page) => existsSync(page))
  .flatMap((page) => markedCommands(page, readFileSync(page, 'utf8')));

for (const { location, script, environment } of blocks) {
  console.log(`\n-- ${location}\n${script}`);
  const started = performance.now();
  const { status, signal, error } = spawnSync('bash', ['-euo', 'pipefail', '-c', script], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...environment },
  });
  if (error !== undefined) throw error;
  if (status !== 0) {
    console.error(
      `${location} failed: ${signal === null ? `exit status ${status ?? 'unknown'}` : `ended by ${signal}`}`,
    );
    process.exit(1);
  }
  console.log(`-- ${location} took ${((performance.now() - started) / 1000).toFixed(1)} s`);
}
console.log(`\n${blocks.length} marked ${blocks.length === 1 ? 'block' : 'blocks'} ran.`);
