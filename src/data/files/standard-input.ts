/** The standard input as one text, named `-` instead of a file. */
import { fstatSync } from 'node:fs';
import { LinnetError } from '../../errors.ts';

/** The same limit as for a text file. */
const maximumBytes = 256 << 20;

/** Names the standard input as a source or file. */
export const standardInputName = '-';

let text: Promise<string> | undefined;

/**
 * All of the standard input, without a byte order mark, line ends normalized to `\n`. Reads it at the first call; later calls
 * get the same text.
 * @throws LinnetError `INPUT` if it is a terminal, `FORMAT` if it is too large or not UTF-8
 */
export function standardInput(): Promise<string> {
  text ??= readAll(process.stdin);
  return text;
}

/** Whether a shell connected a pipe or file to the standard input; other programs' sockets do not count. */
export function isInputPiped(): boolean {
  try {
    const stats = fstatSync(0);
    return stats.isFIFO() || stats.isFile();
  } catch {
    return false;
  }
}

async function readAll(stream: NodeJS.ReadStream): Promise<string> {
  if (stream.isTTY) {
    throw new LinnetError('INPUT', '"-" is the standard input, and that is a terminal; pipe a text into the command');
  }
  const parts: Buffer[] = [];
  let bytes = 0;
  const pieces: AsyncIterable<Buffer> = stream;
  for await (const piece of pieces) {
    bytes += piece.length;
    if (bytes > maximumBytes) {
      throw new LinnetError(
        'FORMAT',
        `the standard input has more than ${maximumBytes} bytes; write it to a .jsonl file`,
      );
    }
    parts.push(piece);
  }
  // The command line loads this file at start, and file readers later.
  const { decodeUtf8 } = await import('./text-file.ts');
  return decodeUtf8(Buffer.concat(parts), 'the standard input').replace(/\r\n?/g, '\n');
}
