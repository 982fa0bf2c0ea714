/** The context of a running command: input and output of the process or of a test, progress, the signal to stop. */
import { internalError } from '../../errors.ts';
import { openProgress, type Progress, silentProgress } from '../../report/progress.ts';
import { type Column, makeTable, textTable } from '../../report/table.ts';
import type { JsonObject } from '../../files/json-object.ts';

/** Characters that could move the cursor, or worse; files and pipes get them unchanged. */
const terminalControls = /(?![\n\t])\p{Cc}/gu;

interface OutputOptions {
  readonly json: boolean;
  readonly quiet: boolean;
}

/** Options of a piece of work that stop it and tell its progress. */
export interface WorkHooks {
  readonly signal: AbortSignal;
  readonly onProgress: (done: number, total: number, info?: string) => void;
}

export interface CommandContext {
  /** The command line, the program's name first: for records. */
  readonly command: readonly string[];
  /** Whether streamed output appears on a terminal, where a progress line would be drawn over it. */
  readonly streamsToTerminal: boolean;
  /** Environment variables, for settings that do not belong on a command line. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Fires on Ctrl-C. A command that reads it promises to stop soon after; one that never does is ended at once. */
  readonly signal: AbortSignal;
  /** Whether nothing is said about the work. */
  readonly quiet: boolean;
  /** Prints a line of the result for people: on stdout, or on stderr next to `--json`. Nothing with `--quiet --json`. */
  print(line: string): void;
  table<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): void;
  /** Streams a part of the result for people, without a line break, on a terminal dimmed if asked. Nothing with `--json`. */
  stream(text: string, style?: { readonly dimmed: boolean }): void;
  /** The next line of input, after a prompt if a person types it; undefined after the last. */
  ask(prompt: string): Promise<string | undefined>;
  readonly input: StandardInput;
  /** Says something about the work on stderr; nothing with `--quiet`. */
  note(line: string): void;
  /** A progress line on stderr, if that is a terminal. */
  progress(label: string, unit: string): Progress;
  /** Does a piece of work next to such a line, which ends with it, also when the work fails. */
  withProgress<T>(label: string, unit: string, work: (hooks: WorkHooks) => T | Promise<T>): Promise<T>;
  /** Runs another command line, the program's name left out, with the same streams and `--json` and `--quiet` as given. */
  run(words: readonly string[]): Promise<CommandResult>;
}

export function makeContext(
  io: CliIo,
  { json, quiet }: OutputOptions,
  command: readonly string[] = ['linnet'],
  run: CommandContext['run'] = () => Promise.reject(internalError('there are no other commands')),
): CommandContext {
  const progress = (label: string, unit: string): Progress =>
    quiet ? silentProgress : openProgress({ label, unit, stream: io.stderr });
  const print = (line: string): void => {
    if (!json) io.stdout.write(`${line}\n`);
    else if (!quiet) io.stderr.write(`${line}\n`);
  };
  return {
    command,
    quiet,
    run,
    environment: io.environment,
    streamsToTerminal: !json && io.stdout.isTTY === true,
    get signal() {
      return io.interruption();
    },
    print,
    table: (rows, columns) => {
      print(textTable(makeTable(columns, rows)));
    },
    stream(text, { dimmed } = { dimmed: false }) {
      if (json) return;
      const shown = io.stdout.isTTY === true ? text.replace(terminalControls, '\ufffd') : text;
      io.stdout.write(dimmed && io.stdout.isTTY === true ? `\u001b[2m${shown}\u001b[22m` : shown);
    },
    input: io.input ?? { isPiped: () => false, read: () => Promise.resolve('') },
    ask: (prompt) => io.ask?.(prompt) ?? Promise.resolve(undefined),
    note(line) {
      if (!quiet) io.stderr.write(`${line}\n`);
    },
    progress,
    async withProgress(label, unit, work) {
      const line = progress(label, unit);
      const hooks: WorkHooks = {
        get signal() {
          return io.interruption();
        },
        onProgress: (done, total, info) => line.update(done, total, info),
      };
      try {
        return await work(hooks);
      } finally {
        line.finish();
      }
    },
  };
}

/** The part of an output stream that commands need; `process.stdout` fits. */
interface OutputStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface CliIo {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /**
   * The signal that fires on Ctrl-C, SIGTERM, or when nobody reads stdout any more. Until a command asks for it, Ctrl-C
   * ends the process at once, which is right for commands that leave nothing half done.
   */
  interruption(): AbortSignal;
  /** Shows a prompt and resolves with the next line of the input; undefined after the last. Default: there are none. */
  ask?(prompt: string): Promise<string | undefined>;
  /** The whole standard input as text. Default: it is empty. */
  readonly input?: StandardInput;
}

interface StandardInput {
  /** Whether stdin is a pipe or file, meant to be read. */
  isPiped(): boolean;
  /** @throws LinnetError `INPUT` for a terminal, `FORMAT` for input too large or not UTF-8 */
  read(): Promise<string>;
}

export interface CommandResult {
  /** Printed as the last line of stdout with `--json`. */
  readonly json: JsonObject;
  /** The command ran, and its answer is no: exit code 1. */
  readonly negative?: boolean;
}
