// npm runs "prepare" after `npm ci`, and again when `npx linnet` is first used in the checkout, since npx installs the
// package at hand into its cache. The second time the build is there already.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

if (process.env.npm_command === 'exec' && existsSync('dist/cli/main.js')) process.exit(0);
const { status } = spawnSync('npm', ['run', 'build'], { stdio: 'inherit', shell: process.platform === 'win32' });
process.exit(status ?? 1);
