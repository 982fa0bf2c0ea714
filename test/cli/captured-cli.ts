/** Runs command lines in this process, keeps what they print and reads it. */
import { expect } from 'vitest';
import type { CommandTable } from '../../src/cli/command-table.ts';
import { exitCodes } from '../../src/cli/framework/exit-codes.ts';
import { runCli } from '../../src/cli/framework/program.ts';

export interface CapturedRun {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CaptureOptions {
  readonly table?: CommandTable;
  readonly environment?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** Lines of the input. */
  readonly lines?: readonly string[];
  /** What is piped into the command. */
  readonly input?: string;
  /** Called with what is printed on stdout. */
  readonly onOutput?: (text: string) => void;
}

/** Runs a command line. */
export async function runCaptured(words: readonly string[], options: CaptureOptions = {}): Promise<CapturedRun> {
  const { table, environment = {}, signal = new AbortController().signal, onOutput, lines = [], input } = options;
  const waiting = [...lines];
  let stdout = '';
  let stderr = '';
  const outcome = await runCli(
    words,
    {
      stdout: {
        write(text) {
          stdout += text;
          onOutput?.(text);
        },
      },
      stderr: {
        write(text) {
          stderr += text;
        },
      },
      environment,
      interruption: () => signal,
      ask: () => Promise.resolve(waiting.shift()),
      input: { isPiped: () => input !== undefined, read: () => Promise.resolve(input ?? '') },
    },
    table,
  );
  return { exitCode: exitCodes[outcome].code, stdout, stderr };
}

/** Runs `linnet ...words`. */
export const linnet = (...words: string[]): Promise<CapturedRun> => runCaptured(words);

/** Runs `linnet ...words --json`, which must succeed, and returns its JSON. */
export async function runJson(...words: string[]): Promise<Record<string, unknown>> {
  return jsonOf(await runCaptured([...words, '--json']));
}

/** The JSON of a run with `--json`, which must have succeeded and printed nothing else. */
export function jsonOf(run: CapturedRun): Record<string, unknown> {
  expect(run.exitCode, run.stderr + run.stdout).toBe(0);
  expect(run.stderr, 'a failed command').not.toMatch(/^linnet: /m);
  expect(run.stdout.trim().split('\n')).toHaveLength(1);
  return lastJson(run);
}

/** The error that a failed run with `--json` tells machines. @throws Error if there is none */
export function errorOf(run: CapturedRun): { code: unknown; message: string } {
  const { error } = lastJson(run);
  if (typeof error !== 'object' || error === null || !('code' in error) || !('message' in error)) {
    throw new Error(`no error in ${run.stdout}`);
  }
  return { code: error.code, message: String(error.message) };
}

/** The JSON object that is the last line of stdout. @throws Error if there is none */
export function lastJson({ stdout }: CapturedRun): Record<string, unknown> {
  const lines = stdout.split('\n');
  if (lines.pop() !== '') throw new Error(`stdout does not end with a line break: ${JSON.stringify(stdout)}`);
  const parsed: unknown = JSON.parse(lines.pop() ?? '');
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw new Error(`no object: ${stdout}`);
  return { ...parsed };
}
