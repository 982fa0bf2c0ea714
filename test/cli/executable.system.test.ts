/** The process itself: what it does on Ctrl-C, SIGTERM and when the reader of its output goes away. */
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { CapturedRun } from './captured-cli.ts';
import { startCli } from './cli-process.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { saveTinyModel } from '../models/tiny-model.ts';

const folder = suiteFolder();
const model = join(folder, 'model');

beforeAll(async () => {
  await saveTinyModel(model);
});

/** Runs `linnet ...words` to its end; `onOutput` is called with the process whenever it prints on stdout. */
async function run(words: readonly string[], onOutput?: (child: ChildProcess) => void): Promise<CapturedRun> {
  return (await startCli(words, onOutput).ended).run;
}

/** A command that would run for hours. */
const endless = (): string[] => ['generate', model, '--max-tokens', '100000000', '--ignore-eos'];

describe('the executable', () => {
  it('answers', async () => {
    expect(await run(['--version'])).toMatchObject({ exitCode: 0, stderr: '' });
    expect(await run(['inspect', join(folder, 'nowhere')])).toMatchObject({ exitCode: 3, stdout: '' });
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('saves and ends with 130 on %s', async (signal) => {
    const session = join(folder, `${signal}.session`);
    let sent = false;
    const { exitCode, stderr } = await run([...endless(), '--session', session], (child) => {
      if (!sent) child.kill(signal);
      sent = true;
    });
    expect(exitCode).toBe(130);
    expect(stderr).toContain(`--session ${session}`);
    expect(existsSync(session)).toBe(true);
  });

  it('stops when nobody reads its output any more', async () => {
    const session = join(folder, 'pipe.session');
    const { exitCode } = await run([...endless(), '--session', session], (child) => child.stdout?.destroy());
    expect(exitCode).toBe(141);
    expect(existsSync(session)).toBe(true);
  });
});
