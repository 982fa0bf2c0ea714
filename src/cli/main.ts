#!/usr/bin/env node
import { exitCodes, reportError } from './framework/exit-codes.ts';

/** Ends the process: 1 is the code of a command that ran and whose answer is no, so that nothing that fails may end with it. */
function fail(error: unknown): never {
  const { outcome, message } = reportError(error);
  process.stderr.write(`linnet: ${message}\n`);
  process.exit(exitCodes[outcome].code);
}
process.on('uncaughtException', fail);

// Loaded here, so that a failure to load is told as any other.
await import('./framework/process.ts').then(({ runProcess }) => runProcess()).catch(fail);
