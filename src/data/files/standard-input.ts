/** The standard input as one text, named `-` in place of a file. */
import { fstatSync } from 'node:fs';
import { LinnetError } from '../../errors.ts';

/** As much as a text file may have. */
const maximumBytes = 256 << 20;

/** How a source or file is named that is the standard input. */
export const standardInputName = '-';

let text: Promise<string> | undefined;

/**
 * All of the standard input, without a byte order mark and with line ends normalised to `\n`. It is read once, at the
 * first call; later calls get the same text.
 * @throws LinnetError `INPUT` where it is a terminal, `FORMAT` if it is too large or not UTF-8
 */
export function standardInput(): Promise<string> {
  text ??= readAll(process.stdin);
  return text;
}

/** Whether a shell connected a pipe or a file to the standard input; the sockets of other programs are left alone. */
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
  // The command line starts with this file, and reads files later.
  const { decodeUtf8 } = await import('./text-file.ts');
  return decodeUtf8(Buffer.concat(parts), 'the standard input').replace(/\r\n?/g, '\n');
}
