/**
 * Makes a release of a clean `main`: runs .ci/run, sets the version, gives the "Unreleased" part of CHANGELOG.md its version
 * and date, commits, tags and packs. Publishing is a separate step; the last lines explain it. With --dry-run it checks
 * and prints its actions, and changes nothing.
 *
 *     npx tsx scripts/release.ts VERSION [--dry-run]
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { projectRoot } from './entries.ts';

const { values, positionals } = parseArgs({ allowPositionals: true, options: { 'dry-run': { type: 'boolean' } } });
const dryRun = values['dry-run'] === true;
const [version = ''] = positionals;

function refuse(reason: string): never {
  console.error(`release: ${reason}`);
  process.exit(1);
}

/** Runs a command and returns its output. */
function ask(command: string, ...words: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, words, { cwd: projectRoot, encoding: 'utf8' });
  if (status !== 0) refuse(`${command} ${words.join(' ')} failed: ${stderr}`);
  return stdout.trim();
}

/** Runs a command that changes something; a dry run only prints it. */
function act(command: string, ...words: string[]): void {
  console.log(`${dryRun ? 'would run' : 'runs'}: ${command} ${words.join(' ')}`);
  if (dryRun) return;
  const { status } = spawnSync(command, words, { cwd: projectRoot, stdio: 'inherit' });
  if (status !== 0) refuse(`${command} failed`);
}

const parts = (text: string): number[] => text.split('.').map(Number);
function isLater(text: string, than: string): boolean {
  const [a, b] = [parts(text), parts(than)];
  const first = a.findIndex((part, index) => part !== b[index]);
  return first >= 0 && a[first] > b[first];
}

const manifest = z.object({ version: z.string() });
const current = manifest.parse(JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8'))).version;
if (!/^\d+\.\d+\.\d+$/.test(version)) refuse('give a version such as 0.2.0');
if (!isLater(version, current)) refuse(`${version} does not come after ${current}`);
if (ask('git', 'status', '--porcelain') !== '') refuse('the tree is not clean: commit or stash first');
if (ask('git', 'branch', '--show-current') !== 'main') refuse('releases are made on main');
if (ask('git', 'tag', '--list', `v${version}`) !== '') refuse(`the tag v${version} is there already`);

const changelogPath = join(projectRoot, 'CHANGELOG.md');
const changelog = readFileSync(changelogPath, 'utf8');
const unreleased = /^## Unreleased\n+(?=\S)(?!## )/m;
if (!unreleased.test(changelog)) refuse('CHANGELOG.md has nothing under "## Unreleased"');
const heading = `## ${version} (${new Date().toISOString().slice(0, 10)})`;

act(join(projectRoot, '.ci/run'));
act('npm', 'version', '--no-git-tag-version', version);
console.log(`${dryRun ? 'would write' : 'writes'} in CHANGELOG.md: ${heading}`);
if (!dryRun) writeFileSync(changelogPath, changelog.replace(unreleased, `## Unreleased\n\n${heading}\n\n`));
act('git', 'commit', '--all', '--message', `Version ${version}`);
act('git', 'tag', '--annotate', `v${version}`, '--message', `Version ${version}`);
act('npm', 'run', 'build');

const packSchema = z.tuple([z.object({ filename: z.string(), integrity: z.string(), entryCount: z.number() })]);
const flags = ['--json', '--ignore-scripts', ...(dryRun ? ['--dry-run'] : [])];
const [packed] = packSchema.parse(JSON.parse(ask('npm', 'pack', ...flags)));
console.log(`
${packed.filename}: ${packed.entryCount} files, ${packed.integrity}
built from ${ask('git', 'rev-parse', 'HEAD')} by Node ${process.version}

Publish from a workflow with "id-token: write", so that npm records the commit and the workflow as provenance:
  git push --follow-tags && npm publish ${packed.filename} --provenance --access public`);
