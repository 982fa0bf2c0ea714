/** Runs command lines in this process and keeps what they print. */
import type { CommandEntry } from '../src/cli/command-table.ts';
import { exitCodes } from '../src/cli/exit-codes.ts';
import { runCli } from '../src/cli/program.ts';

export interface CapturedRun {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CaptureOptions {
  readonly table?: readonly CommandEntry[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** Called with what is printed on stdout. */
  readonly onOutput?: (text: string) => void;
}

/** Runs `linnet ...words`. */
export async function runCaptured(words: readonly string[], options: CaptureOptions = {}): Promise<CapturedRun> {
  const { table, environment = {}, signal = new AbortController().signal, onOutput } = options;
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
    },
    table,
  );
  return { exitCode: exitCodes[outcome].code, stdout, stderr };
}

/** The JSON object that is the last line of stdout. @throws Error if there is none */
export function lastJson({ stdout }: CapturedRun): Record<string, unknown> {
  const lines = stdout.split('\n');
  if (lines.pop() !== '') throw new Error(`stdout does not end with a line break: ${JSON.stringify(stdout)}`);
  const parsed: unknown = JSON.parse(lines.pop() ?? '');
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw new Error(`no object: ${stdout}`);
  return { ...parsed };
}
