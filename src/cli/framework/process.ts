/** Connects the command line to the process. */
import { isInputPiped, standardInput } from '../../data/files/standard-input.ts';
import { exitCodes } from './exit-codes.ts';
import type { CliIo } from './context.ts';
import { runCli } from './program.ts';
import type { Interface } from 'node:readline';

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
          process.stderr.write(process.stderr.isTTY ? '\nstopping; press Ctrl-C again to quit now\n' : '');
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
    ask: (prompt) => (ask ??= lineReader(process.stdin, process.stderr, interruption))(prompt),
  };
  const outcome = await runCli(process.argv.slice(2), io);
  process.exitCode = exitCodes[outputClosed ? 'closedOutput' : outcome].code;
}

/** Asks for lines, with a prompt if a person types them, until `signal` fires; undefined after the last. */
function lineReader(
  input: NodeJS.ReadStream,
  output: NodeJS.WriteStream,
  signal: () => AbortSignal,
): (prompt: string) => Promise<string | undefined> {
  let opened: { readonly terminal: Interface; readonly lines: AsyncIterator<string> } | undefined;
  return async (prompt) => {
    if (opened === undefined) {
      const { createInterface } = await import('node:readline');
      const terminal = createInterface({ input, output: input.isTTY ? output : undefined, terminal: input.isTTY });
      // While a line is edited, the terminal gives Ctrl-C to us instead of to the process.
      terminal.on('SIGINT', () => {
        process.kill(process.pid, 'SIGINT');
      });
      signal().addEventListener('abort', () => {
        terminal.close();
      });
      opened = { terminal, lines: terminal[Symbol.asyncIterator]() };
    }
    if (input.isTTY) {
      opened.terminal.setPrompt(prompt);
      opened.terminal.prompt();
    }
    const next = await opened.lines.next();
    if (next.done !== true) return next.value;
    opened.terminal.close();
    return undefined;
  };
}
