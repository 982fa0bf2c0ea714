/** How a command ends: its exit code, and the error a failed one reports. Scripts rely on both. */
import { type ErrorCode, LinnetError } from '../../errors.ts';

/** Meaning of every exit code, in the words of `linnet --help`. */
export const exitCodes = {
  success: { code: 0, meaning: 'success' },
  negative: { code: 1, meaning: 'the command ran and answers no (a leak was found, a comparison failed)' },
  usage: { code: 2, meaning: 'the command line is wrong' },
  input: { code: 3, meaning: 'a file, model, text or configuration cannot be used' },
  engine: { code: 4, meaning: 'ONNX Runtime failed or lacks the device, or a loss is not finite' },
  internal: { code: 70, meaning: 'a bug in linnet' },
  unwritten: { code: 74, meaning: 'the output could not be written (the disk is full, read-only or broken)' },
  interrupted: { code: 130, meaning: 'stopped by Ctrl-C or SIGTERM' },
  closedOutput: { code: 141, meaning: 'the reader of the output went away' },
} as const;

export type Outcome = keyof typeof exitCodes;

export class UsageError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'UsageError';
  }
}

/** An error as reported: to machines as `{"error":{"code","message"}}`, to people as the message. */
interface ReportedError {
  readonly outcome: Outcome;
  /** `USAGE`, an `ErrorCode`, or the system's name of the failure, such as `ENOSPC`. */
  readonly code: string;
  readonly message: string;
}

const outcomes: Readonly<Record<ErrorCode, Outcome>> = {
  SHAPE: 'internal',
  GRAPH: 'internal',
  RUNTIME: 'engine',
  CONFIG: 'input',
  FORMAT: 'input',
  TENSOR: 'input',
  PATH: 'input',
  NOT_FOUND: 'input',
  MISMATCH: 'input',
  INPUT: 'input',
  ABORTED: 'interrupted',
  INTERNAL: 'internal',
};

export function reportError(error: unknown): ReportedError {
  const unwritten = failedWrite(error);
  if (unwritten !== undefined) return unwritten;
  if (error instanceof UsageError) return { outcome: 'usage', code: 'USAGE', message: error.message };
  if (error instanceof LinnetError) {
    return { outcome: outcomes[error.code], code: error.code, message: error.message };
  }
  if (!(error instanceof Error))
    return { outcome: 'internal', code: 'INTERNAL', message: 'internal: a value that is not an Error was thrown' };
  if (error.name === 'AbortError') return { outcome: 'interrupted', code: 'ABORTED', message: error.message };
  // A full disk or a folder without permission is not our bug, wherever it shows.
  if ('syscall' in error && 'code' in error && typeof error.code === 'string') {
    const advice = error.code === 'EMFILE' ? "; raise this shell's limit, for example: ulimit -n 1024" : '';
    return { outcome: 'input', code: error.code, message: `${error.message}${advice}` };
  }
  return { outcome: 'internal', code: 'INTERNAL', message: `internal: ${error.message}` };
}

const writeFailures: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS', 'EIO']);
/** Calls that write, whatever they are refused for. */
const writingCalls: ReadonlySet<unknown> = new Set(['mkdir', 'mkdtemp', 'rename', 'link', 'write']);

/** The report of an error that is, or was caused by, a failed write. */
export function failedWrite(error: unknown): ReportedError | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const { code, syscall, path }: NodeJS.ErrnoException = cause;
    const isRefused = code === 'EACCES' || code === 'EPERM';
    const isWriting = writingCalls.has(syscall) || path?.endsWith('.tmp');
    if (code !== undefined && (writeFailures.has(code) || (isRefused && isWriting))) {
      return { outcome: 'unwritten', code, message: error instanceof Error ? error.message : cause.message };
    }
  }
  return undefined;
}

/** The stacks of an error and of everything that caused it, for `--debug`. */
export function errorStacks(error: unknown): string {
  if (!(error instanceof Error)) return 'thrown without a stack';
  const stack = error.stack ?? error.message;
  return error.cause === undefined
    ? stack
    : `${stack}
caused by: ${errorStacks(error.cause)}`;
}
