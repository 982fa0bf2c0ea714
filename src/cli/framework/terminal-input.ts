/** Lines that a person types, or that a pipe brings. */
import { createInterface, type Interface } from 'node:readline';

/**
 * Asks for lines on a stream.
 * @param signal ends the asking
 * @returns a function that shows a prompt, where a person reads it, and resolves with a line; undefined after the last
 */
export function lineReader(
  input: NodeJS.ReadStream,
  output: NodeJS.WriteStream,
  signal: () => AbortSignal,
): (prompt: string) => Promise<string | undefined> {
  let opened: { readonly terminal: Interface; readonly lines: AsyncIterator<string> } | undefined;
  return async (prompt) => {
    if (opened === undefined) {
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
