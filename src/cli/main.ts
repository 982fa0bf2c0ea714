#!/usr/bin/env node
import { exitCodes, reportError } from './framework/exit-codes.ts';

/** Ends the process. Code 1 means a command ran and its answer is no, so failures must not use it. */
function fail(error: unknown): never {
  const { outcome, message } = reportError(error);
  process.stderr.write(`linnet: ${message}\n`);
  process.exit(exitCodes[outcome].code);
}
process.on('uncaughtException', fail);

// Loaded here, so that a loading failure is reported like any other.
await import('./framework/process.ts').then(({ runProcess }) => runProcess()).catch(fail);
