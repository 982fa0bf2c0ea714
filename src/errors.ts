/**
 * The errors users meet. Each carries a stable `code`, and its message names the value given, the value expected and a remedy.
 * A message that starts with "internal:" is our bug.
 */

/** Stable identifiers; scripts may rely on them. Add a code here before throwing it. */
export type ErrorCode =
  | 'SHAPE' // an op was given shapes or dtypes it cannot combine
  | 'GRAPH' // a graph is misused: foreign value, duplicate name, no gradient
  | 'RUNTIME' // the engine refused or failed
  | 'CONFIG' // a configuration is invalid or asks for something unsupported
  | 'FORMAT' // a file is malformed
  | 'TENSOR' // a checkpoint's tensors are missing, surplus or misshapen
  | 'PATH' // a path escapes its folder, or is not a regular file
  | 'NOT_FOUND' // a file, model, package or tensor does not exist
  | 'MISMATCH' // two things that must belong together do not (another model's session, a run resumed with another config)
  | 'INPUT' // a user's argument or text is unusable
  | 'ABORTED' // stopped on request
  | 'INTERNAL'; // our bug

/** Longer messages are cut: they would quote a file at length, which nobody reads and which may be private. */
const longestMessage = 4000;

/** An error that users meet. The command line and the server use their own for wording and status: `UsageError` and `ApiError`. */
export class LinnetError extends Error {
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message.length > longestMessage ? `${message.slice(0, longestMessage)}…` : message, options);
    this.name = 'LinnetError';
    this.code = code;
  }
}

/** Any error's message; for a failed `fetch` also what failed, which Node keeps in the cause, of several attempts in the first. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { message, cause } = error;
  if (message !== 'fetch failed' || cause === undefined) return message;
  return `${message}: ${reasonOf(cause instanceof AggregateError ? cause.errors[0] : cause)}`;
}

/** Logits that are not numbers: from a broken model or a fabricated state. */
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

/** Options for work that can be stopped. */
export interface Stoppable {
  /** Stops the work, with an error `ABORTED`. */
  readonly signal?: AbortSignal;
}

/** Options for work that also reports progress. */
export interface Watched extends Stoppable {
  /** Called after every part of the work. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** @throws LinnetError `ABORTED` once the signal has fired; `what` completes "stopped …" */
export function requireRunning(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted === true) throw new LinnetError('ABORTED', `stopped ${what}`);
}

/** A read's result; undefined if it fails with `NOT_FOUND`. */
export async function ifFound<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof LinnetError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}

/** One of our invariants does not hold. */
export function internalError(message: string): LinnetError {
  return new LinnetError('INTERNAL', `internal: ${message}`);
}

/**
 * Wrong or mutually exclusive options of a call. Messages quote option keys in backquotes; the command line replaces them by
 * its own options' names.
 */
export class OptionsError extends LinnetError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('CONFIG', message, options);
    this.name = 'OptionsError';
  }
}
