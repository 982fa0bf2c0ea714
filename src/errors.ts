/**
 * The errors users meet. Each carries a stable `code`, and its message names the value given, the one expected and a
 * remedy. A message that starts with "internal:" is a bug of ours.
 */

/** Stable identifiers; scripts may rely on them. Add a code here before throwing it. */
export type ErrorCode =
  | 'SHAPE' // an op was given shapes or dtypes it cannot combine
  | 'GRAPH' // a graph is used wrongly: foreign value, duplicate name, no gradient
  | 'RUNTIME' // the engine refused or failed
  | 'CONFIG' // a configuration is invalid or asks for something unsupported
  | 'FORMAT' // a file is malformed
  | 'TENSOR' // tensors of a checkpoint are missing, surplus or of the wrong shape
  | 'PATH' // a path escapes its folder, or is not a regular file
  | 'NOT_FOUND' // a file, model, package or tensor does not exist
  | 'MISMATCH' // two things that must belong together do not (session of another model, resumed run of another config)
  | 'INPUT' // a user's argument or text is unusable
  | 'ABORTED' // stopped on request
  | 'INTERNAL'; // ours

/** A longer message is cut: it would quote a file at length, which nobody reads, and which may be private. */
const longestMessage = 4000;

/** An error that users meet. The command line and the server have their own for their words and statuses, `UsageError` and `ApiError`. */
export class LinnetError extends Error {
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message.length > longestMessage ? `${message.slice(0, longestMessage)}…` : message, options);
    this.name = 'LinnetError';
    this.code = code;
  }
}

/** The words of any error; for a failed `fetch` also what failed, which Node keeps in the cause, of several tries in the first. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { message, cause } = error;
  if (message !== 'fetch failed' || cause === undefined) return message;
  return `${message}: ${reasonOf(cause instanceof AggregateError ? cause.errors[0] : cause)}`;
}

/** Logits that are not numbers: of a broken model, or of a state that somebody has made up. */
export class BrokenLogitsError extends LinnetError {
  constructor(what: string) {
    super('RUNTIME', `${what}: the model or its state is broken`);
  }
}

/** The queue is full, or the runner takes no more jobs. */
export class OverloadError extends Error {
  readonly reason: 'full' | 'closing';
  constructor(reason: 'full' | 'closing') {
    super(reason === 'full' ? 'too many requests are waiting; try again later' : 'the server is shutting down');
    this.name = 'OverloadError';
    this.reason = reason;
  }
}

/** Options of work that can be stopped. */
export interface Stoppable {
  /** Stops the work, with an error `ABORTED`. */
  readonly signal?: AbortSignal;
}

/** Options of work that tells its progress, too. */
export interface Watched extends Stoppable {
  /** Told after every part of the work. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** @throws LinnetError `ABORTED` once the signal has fired; `what` completes "stopped …" */
export function requireRunning(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted === true) throw new LinnetError('ABORTED', `stopped ${what}`);
}

/** The result of a read; undefined where it fails with `NOT_FOUND`. */
export async function ifFound<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof LinnetError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}

/** An invariant of ours does not hold. */
export function internalError(message: string): LinnetError {
  return new LinnetError('INTERNAL', `internal: ${message}`);
}

/**
 * Options of a call that are wrong or exclude each other. Messages hold the keys of options in backquotes; the command
 * line, which says the same by its own options, puts their names there.
 */
export class OptionsError extends LinnetError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('CONFIG', message, options);
    this.name = 'OptionsError';
  }
}
