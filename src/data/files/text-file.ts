/** Reads untrusted text files: bounded sizes, regular files only, checked UTF-8. */
import { stat } from 'node:fs/promises';
import { fileError, type OpenFile, openRegularFile } from '../../files/regular-file.ts';
import { LinnetError } from '../../errors.ts';

/** Half of the longest JavaScript string, in bytes. Larger texts belong in JSON Lines, which is streamed. */
const maximumFileBytes = 256 << 20;

/**
 * Opens a regular file; the caller closes it.
 * @throws LinnetError `NOT_FOUND` if there is nothing, `PATH` if it is a folder or another special file.
 */
export async function openTextFile(path: string): Promise<OpenFile> {
  const status = await stat(path).catch((cause: unknown) => {
    throw fileError('open', path, cause);
  });
  if (status.isDirectory()) {
    throw new LinnetError('PATH', `${path} is a folder; name the files in it one by one (a shell pattern will do)`);
  }
  return openRegularFile(path);
}

/**
 * A whole file's text, without a byte order mark, line ends normalized to `\n`.
 * @throws LinnetError `NOT_FOUND`, `PATH`, or `FORMAT` if the file is too large or not UTF-8.
 */
export async function readTextFile(path: string): Promise<string> {
  await using file = await openTextFile(path);
  const { handle, size } = file;
  try {
    if (size > maximumFileBytes) {
      throw new LinnetError(
        'FORMAT',
        `${path} has ${size} bytes; expected at most ${maximumFileBytes}. Split it, or use .jsonl with one document per line`,
      );
    }
    return decodeUtf8(await handle.readFile(), path).replace(/\r\n?/g, '\n');
  } catch (error) {
    throw fileError('read', path, error);
  }
}

/** A line of a file. */
export interface Line {
  readonly text: string;
  /** Counted from 1. */
  readonly number: number;
}

/**
 * A file's lines, read piece by piece: holds at most one line in memory. Lines end with `\n` or `\r\n`; an empty last line
 * does not count.
 * @param maximumLineBytes refuses longer lines before reading them to their end.
 * @throws LinnetError `NOT_FOUND`, `PATH`, or `FORMAT` (naming the line) if a line is too long or not UTF-8.
 */
export async function* readLines(path: string, maximumLineBytes: number): AsyncGenerator<Line> {
  const { handle } = await openTextFile(path);
  let number = 1;
  let parts: Buffer[] = [];
  let length = 0;
  const take = (part: Buffer): void => {
    length += part.length;
    if (length > maximumLineBytes) {
      throw new LinnetError('FORMAT', `${path}:${number}: the line is longer than ${maximumLineBytes} bytes`);
    }
    parts.push(part);
  };
  const finish = (): Line => {
    const text = decodeUtf8(Buffer.concat(parts), `${path}:${number}`).replace(/\r$/, '');
    const line = { text, number };
    number++;
    parts = [];
    length = 0;
    return line;
  };
  const stream: AsyncIterable<Buffer> = handle.createReadStream(); // closes the file at its end, or when left early
  try {
    for await (const chunk of stream) {
      let start = 0;
      for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, start)) {
        take(chunk.subarray(start, end));
        yield finish();
        start = end + 1;
      }
      if (start < chunk.length) take(chunk.subarray(start));
    }
  } catch (error) {
    throw fileError('read', path, error);
  }
  if (length > 0) yield finish();
}

/** Bytes as text, without a byte order mark. @throws LinnetError `FORMAT` unless they are UTF-8 */
export function decodeUtf8(bytes: Buffer, place: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new LinnetError('FORMAT', `${place} is not UTF-8 text; convert it first`, { cause });
  }
}
