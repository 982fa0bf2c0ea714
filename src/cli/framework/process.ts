/** Connects the command line to the process. */
import { isInputPiped, standardInput } from '../../data/files/standard-input.ts';
import { exitCodes } from './exit-codes.ts';
import type { CliIo } from './io.ts';
import { runCli } from './program.ts';

/** Runs the command line of this process, and sets its exit code. */
export async function runProcess(): Promise<void> {
  const controller = new AbortController();
  let listening = false;

  /** The first signal asks the command to stop and save; the second one does not wait for it. */
  function interruption(): AbortSignal {
    if (!listening) {
      listening = true;
      for (const name of ['SIGINT', 'SIGTERM'] as const) {
        process.on(name, () => {
          if (controller.signal.aborted) process.exit(exitCodes.interrupted.code);
          process.stderr.write(process.stderr.isTTY ? '\nstopping; once more to stop at once\n' : '');
          controller.abort();
        });
      }
    }
    return controller.signal;
  }

  let ask: CliIo['ask'];
  let outputClosed = false;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') {
      // Nothing that was to be printed can be relied on: not the code 1 of an answer, nor 0.
      process.stderr.write(`linnet: standard output cannot be written: ${error.message}\n`);
      process.exit(exitCodes.unwritten.code);
    }
    outputClosed = true;
    // A command that listens stops and saves; one that does not has nothing to save.
    if (listening) controller.abort();
    else process.exit(exitCodes.closedOutput.code);
  });
  process.stderr.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') process.exit(exitCodes.unwritten.code);
  });

  const io: CliIo = {
    stdout: process.stdout,
    stderr: process.stderr,
    environment: process.env,
    interruption,
    input: { isPiped: isInputPiped, read: standardInput },
    // Not before it is asked for: looking at the standard input can keep the process alive.
    async ask(prompt) {
      const { lineReader } = await import('./terminal-input.ts');
      ask ??= lineReader(process.stdin, process.stderr, interruption);
      return ask(prompt);
    },
  };
  const outcome = await runCli(process.argv.slice(2), io);
  process.exitCode = exitCodes[outputClosed ? 'closedOutput' : outcome].code;
}
