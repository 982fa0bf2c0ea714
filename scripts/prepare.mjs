// Builds the checkout: npm runs "postprepare" after `npm ci`. "prepare" is the usual name, but npm asks every user of a packed
// package about that one.
//
// npm links the commands of a package's dependencies into node_modules/.bin, but not its own. With this link, `linnet` is
// this checkout's build for npm scripts, editors and npx, whatever npm's cache holds.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const executable = join(root, 'dist', 'cli', 'main.js');

// `npm ci --omit=dev` installs no compiler, and an unbuilt checkout has no command to link.
const compiler = join(root, 'node_modules', 'typescript');
const builds = !existsSync(join(root, 'tsconfig.build.json')) || existsSync(compiler);

if (!builds && !existsSync(executable)) {
  console.log('linnet: not built, since TypeScript is a development dependency; run "npm ci" for the command');
  process.exit(0);
}
if (builds) {
  const { status } = spawnSync('npm', ['run', 'build'], {
    cwd: root,
    stdio: 'inherit',
    shell: process.platform === 'win32',
  });
  if (status !== 0) process.exit(status ?? 1);
}
linkExecutable(join(root, 'node_modules', '.bin'));

/** Makes a relative link, so that the checkout can move. Windows gets a batch file: links need rights there. */
function linkExecutable(folder) {
  mkdirSync(folder, { recursive: true });
  chmodSync(executable, 0o755);
  if (process.platform === 'win32') {
    writeFileSync(join(folder, 'linnet.cmd'), '@node "%~dp0..\\..\\dist\\cli\\main.js" %*\r\n');
    return;
  }
  const link = join(folder, 'linnet');
  rmSync(link, { force: true });
  symlinkSync(relative(folder, executable), link);
}
