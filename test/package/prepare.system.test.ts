/** The command `linnet` in a checkout, after `npm ci`: what scripts/prepare.mjs links, and what npx then runs. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdir, readlink, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { scratchFolder } from '../scratch-folder.ts';

const script = fileURLToPath(new URL('../../scripts/prepare.mjs', import.meta.url));

const { scripts: ours } = z
  .object({ scripts: z.record(z.string(), z.string()) })
  .parse(JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')));
const afterInstall = Object.fromEntries(Object.entries(ours).filter(([, words]) => words.includes('prepare.mjs')));

/** A package with our name, command and script after `npm ci`, whose build writes an executable that says `answer` and its arguments. */
async function checkout(folder: string, answer: string): Promise<string> {
  await mkdir(join(folder, 'scripts'), { recursive: true });
  await cp(script, join(folder, 'scripts/prepare.mjs'));
  const source = `#!/usr/bin/env node\nconsole.log(${JSON.stringify(answer)}, ...process.argv.slice(2));\n`;
  const build = `require('fs').mkdirSync('dist/cli',{recursive:true});require('fs').writeFileSync('dist/cli/main.js',${JSON.stringify(source)})`;
  await writeFile(join(folder, 'scripts/build.cjs'), build);
  const manifest = {
    name: 'linnet',
    version: '0.0.0',
    type: 'module',
    bin: { linnet: './dist/cli/main.js' },
    scripts: { build: 'node scripts/build.cjs', hello: 'linnet', ...afterInstall },
  };
  await writeFile(join(folder, 'package.json'), JSON.stringify(manifest));
  return folder;
}

/** Runs npm or npx in a folder, without network and with a cache of its own; returns stdout. */
function run(command: 'npm' | 'npx', words: readonly string[], cwd: string, cache: string): string {
  const { status, stdout, stderr } = spawnSync(command, words, {
    cwd,
    encoding: 'utf8',
    timeout: 60_000,
    shell: process.platform === 'win32',
    env: { PATH: process.env.PATH, HOME: cache, npm_config_cache: cache, npm_config_offline: 'true' },
  });
  expect(status, stdout + stderr).toBe(0);
  return stdout.trim();
}

describe('npx linnet in a checkout', () => {
  it('runs the build of that checkout: with spaces in its path, next to another one, after a new build', async () => {
    const scratch = await scratchFolder();
    const cache = join(scratch, 'npm cache');
    const first = await checkout(join(scratch, 'my models', 'linnet'), 'first');
    const second = await checkout(join(scratch, 'second'), 'second');
    for (const folder of [first, second]) run('npm', ['install', '--no-audit', '--no-fund'], folder, cache);
    for (let time = 0; time < 2; time++) {
      expect(run('npx', ['linnet', 'a b'], first, cache)).toBe('first a b');
      expect(run('npx', ['linnet', 'a b'], second, cache)).toBe('second a b');
    }
    await checkout(first, 'rebuilt');
    run('npm', ['run', 'build'], first, cache);
    expect(run('npx', ['linnet'], first, cache)).toBe('rebuilt');
  });

  it('is not built without the compiler, which is not a failure: npm ci --omit=dev', async () => {
    const scratch = await scratchFolder();
    const folder = await checkout(join(scratch, 'production'), 'never');
    await writeFile(join(folder, 'tsconfig.build.json'), '{}');
    const printed = run('npm', ['install', '--no-audit', '--no-fund', '--foreground-scripts'], folder, scratch);
    expect(printed).toContain('linnet: not built, since TypeScript is a development dependency');
    expect(existsSync(join(folder, 'dist'))).toBe(false);
  });

  it.skipIf(process.platform === 'win32')('is linked for scripts, and stays so when the checkout moves', async () => {
    const scratch = await scratchFolder();
    const cache = join(scratch, 'cache');
    const folder = await checkout(join(scratch, 'here'), 'linked');
    run('npm', ['install', '--no-audit', '--no-fund'], folder, cache);
    expect(await readlink(join(folder, 'node_modules/.bin/linnet'))).toBe('../../dist/cli/main.js');
    const moved = join(scratch, 'there, too');
    await rename(folder, moved);
    await rm(cache, { recursive: true, force: true });
    expect(run('npm', ['run', '--silent', 'hello'], moved, cache)).toBe('linked');
    expect(run('npx', ['linnet'], moved, cache)).toBe('linked');
  });
});
