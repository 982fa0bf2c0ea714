/** Runs command lines in processes of their own, for what only a process has: signals, and a reader that goes away. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { CapturedRun } from './captured-cli.ts';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

export interface StartedCli {
  readonly child: ChildProcess;
  /** Why the process ended, and what it printed; its exit code is −1 when a signal ended it. */
  readonly ended: Promise<{ readonly signal: NodeJS.Signals | null; readonly run: CapturedRun }>;
}

/** Starts `linnet ...words`; `onOutput` is called with the process whenever it prints on stdout. */
export function startCli(
  words: readonly string[],
  onOutput: (child: ChildProcess) => void = () => undefined,
): StartedCli {
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
  const ended: StartedCli['ended'] = new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ signal, run: { exitCode: code ?? -1, stdout, stderr } }));
  });
  return { child, ended };
}
