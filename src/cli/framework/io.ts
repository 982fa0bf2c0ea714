/** Input and output of a command line: the streams of the process, or the ones a test captures. */

/** The part of an output stream that commands need; `process.stdout` fits. */
export interface OutputStream {
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

export interface StandardInput {
  /** Whether a shell connected a pipe or a file, so that somebody means it to be read. */
  isPiped(): boolean;
  /** @throws LinnetError `INPUT` for a terminal, `FORMAT` for input that is too large or not UTF-8 */
  read(): Promise<string>;
}

export interface CommandResult {
  /** Printed as the last line of stdout with `--json`. */
  readonly json: Readonly<Record<string, unknown>>;
  /** The command ran, and its answer is no: exit code 1. */
  readonly negative?: boolean;
}
