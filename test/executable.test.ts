/** The process itself: what it does on Ctrl-C, SIGTERM and when the reader of its output goes away. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { suiteFolder } from './scratch-folder.ts';
import { saveTinyModel } from './tiny-model.ts';

const main = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url));
const folder = suiteFolder();
const model = join(folder, 'model');

beforeAll(async () => {
  await saveTinyModel(model);
});

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts `linnet ...words`; `onOutput` is called with the process whenever it prints on stdout. */
function run(words: readonly string[], onOutput: (child: ChildProcess) => void = () => undefined): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', main, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (piece: Buffer) => {
      stdout += piece.toString();
      onOutput(child);
    });
    child.stderr.on('data', (piece: Buffer) => {
      stderr += piece.toString();
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

/** A command that would run for hours. */
const endless = (): string[] => ['generate', model, '--max-tokens', '100000000', '--ignore-eos'];

describe('the executable', () => {
  it('answers', async () => {
    expect(await run(['--version'])).toMatchObject({ code: 0, stderr: '' });
    expect(await run(['inspect', join(folder, 'nowhere')])).toMatchObject({ code: 3, stdout: '' });
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('saves and ends with 130 on %s', async (signal) => {
    const session = join(folder, `${signal}.session`);
    let sent = false;
    const { code, stderr } = await run([...endless(), '--session', session], (child) => {
      if (!sent) child.kill(signal);
      sent = true;
    });
    expect(code).toBe(130);
    expect(stderr).toContain(`--session ${session}`);
    expect(existsSync(session)).toBe(true);
  });

  it('stops when nobody reads its output any more', async () => {
    const session = join(folder, 'pipe.session');
    const { code } = await run([...endless(), '--session', session], (child) => child.stdout?.destroy());
    expect(code).toBe(141);
    expect(existsSync(session)).toBe(true);
  });
});
