/** Output that cannot be written: an exit code of its own, not that of an answer. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, openSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LinnetError } from '../../src/errors.ts';
import { reportError } from '../../src/cli/framework/exit-codes.ts';
import { linnet } from './captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { saveTinyModel } from '../models/tiny-model.ts';

const folder = suiteFolder();
const model = join(folder, 'model');
const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const full = '/dev/full';

beforeAll(() => saveTinyModel(model));

describe.skipIf(!existsSync(full))('a full standard output', () => {
  it.each([['--version'], ['--help'], ['inspect', model], ['check', model], ['check', model, '--json']])(
    'ends %s %s with 74 and one line',
    (...words) => {
      const stdio: ['ignore', number, 'pipe'] = ['ignore', openSync(full, 'w'), 'pipe'];
      const { status, stderr } = spawnSync(process.execPath, ['--import', 'tsx', main, ...words], {
        stdio,
        encoding: 'utf8',
      });
      expect(status, stderr).toBe(74);
      expect(stderr.trim().split('\n').at(-1)).toMatch(/^linnet: standard output cannot be written: ENOSPC/);
      expect(stderr).not.toMatch(/^ +at /m);
    },
  );
});

describe('a file that cannot be written', () => {
  it.each(['ENOSPC', 'EROFS'])('is told from a bad input: %s', (code) => {
    const cause = Object.assign(new Error('write'), { code, syscall: 'write' });
    const expected = { outcome: 'unwritten', code };
    expect(reportError(cause)).toMatchObject(expected);
    expect(reportError(new LinnetError('PATH', 'cannot write x', { cause }))).toMatchObject(expected);
  });
});

describe('a place that cannot be written', () => {
  it.each([
    ['session', 'generate', model, '--prompt', 'ab', '--max-tokens', '4'],
    ['chart', 'eval', 'positions', '--data', 'none.txt', '--models', model],
  ])('is found out before the work: --%s of %s', async (option, ...words) => {
    for (const place of [join(folder, 'no such folder', 'file'), model]) {
      const run = await linnet(...words, `--${option}`, place);
      expect({ exitCode: run.exitCode, stdout: run.stdout }).toEqual({ exitCode: 3, stdout: '' });
      expect(run.stderr).toMatch(/^linnet: cannot write .*(there is no folder|it is a folder)/m);
    }
    expect(await readdir(folder)).toEqual(['model']);
  });
});

it('charts are SVG, which the name of the file says', async () => {
  const words = ['eval', 'positions', '--data', 'none.txt', '--models', model];
  const run = await linnet(...words, '--chart', join(folder, 'positions.png'));
  expect(run.exitCode).toBe(2);
  expect(run.stderr).toContain('charts are SVG: name a file such as positions.svg');
});

/** A read-only disk; undefined where this user may not mount one. */
const readOnly = mkdtempSync(join(tmpdir(), 'linnet-read-only-'));
const isMounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'ro', 'tmpfs', readOnly]).status === 0;
afterAll(() => {
  if (isMounted) spawnSync('umount', [readOnly]);
});

describe.skipIf(!isMounted)('a read-only disk (skipped where none can be mounted)', () => {
  it.each([
    ['linearize', model, '--mixer', 'window', '--out', join(readOnly, 'a', 'b')],
    ['export', model, '--dtype', 'f32', '--out', join(readOnly, 'c')],
    ['serve', model, '--port', '0', '--sessions', join(readOnly, 'd')],
  ])('ends %s with 74, and says so', async (...words) => {
    const { exitCode, stderr } = await linnet(...words);
    expect([exitCode, stderr]).toEqual([74, expect.stringContaining('read-only file system')]);
  });
});
