/**
 * A folder of resumable work: *documents*, JSON objects that are replaced as a whole, and *journals*, JSON lines that are
 * appended; snapshots of weights lie next to them as safetensors.
 *
 * A document is written under a temporary name, flushed and renamed: it is the old one or the new one. A line of a journal is
 * handed to the operating system before `append` returns; a line that a power cut has torn is dropped when the journal is
 * read again. One process at a time writes a folder: `lockFolder`.
 */
import { closeSync, existsSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { z } from 'zod';
import { ifFound, LinnetError } from '../errors.ts';
import { makeFolder, writeFileAtomic } from './atomic.ts';
import { checkJsonLimits } from './json-object.ts';
import { validated } from './schema-problems.ts';
import { fileError, readInFolder } from './regular-file.ts';

/** A kind of file in a run folder. */
export interface RunFile<T> {
  /** Name in the folder. */
  readonly file: string;
  readonly schema: z.ZodType<T>;
  /** Description for errors: "a valid record of a run". */
  readonly what: string;
  /** Advice about a damaged one, for errors. */
  readonly remedy?: string;
  /** A larger file is not ours. Default 1 MiB. */
  readonly mostBytes?: number;
  /** Lines that are damaged or of another kind are passed over, and the last one need not end. Default: they are refused. */
  readonly isForgiving?: boolean;
}

/** A folder of resumable work. */
export class RunFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = resolve(path);
  }

  has({ file }: RunFile<unknown>): boolean {
    return existsSync(join(this.path, file));
  }

  /** The content of a document. @throws LinnetError `NOT_FOUND` where there is none, `FORMAT` naming the problem */
  async load<T>(kind: RunFile<T>): Promise<T> {
    return parsed(kind, await this.#text(kind), join(this.path, kind.file));
  }

  /** The content of a document; undefined where there is none. @throws LinnetError `FORMAT` naming the problem */
  read<T>(kind: RunFile<T>): Promise<T | undefined> {
    return ifFound(this.load(kind));
  }

  /** Replaces a document. @throws LinnetError `PATH` from the file system */
  async write<T>({ file }: RunFile<T>, value: T): Promise<void> {
    await writeFileAtomic(join(this.path, file), `${JSON.stringify(value, undefined, 2)}\n`);
  }

  /** The lines of a journal. @throws LinnetError `NOT_FOUND` where there is none, `FORMAT` naming the damaged line */
  async loadLines<T>(kind: RunFile<T>): Promise<T[]> {
    return parseLines(kind, await this.#text(kind), join(this.path, kind.file));
  }

  /**
   * Opens a journal for appending; it is created if need be, as is the folder.
   * @param keep which of its lines stay; default all that are whole
   * @throws LinnetError `FORMAT` naming the damaged line, `PATH` from the file system
   */
  async journal<T>(kind: RunFile<T>, keep: (line: T) => boolean = () => true): Promise<LineJournal<T>> {
    const path = join(this.path, kind.file);
    await makeFolder(this.path);
    const kept = ((await ifFound(this.loadLines(kind))) ?? []).filter(keep);
    await writeFileAtomic(path, kept.map(lineOf).join(''));
    return new LineJournal(path, kept);
  }

  async #text({ file, mostBytes = 1 << 20 }: RunFile<unknown>): Promise<string> {
    return (await readInFolder(this.path, file, mostBytes)).toString('utf8');
  }
}

/** A journal that is being written. */
export class LineJournal<T> {
  readonly path: string;
  /** The lines that were there when it was opened. */
  readonly kept: readonly T[];
  #file: number | undefined;

  constructor(path: string, kept: readonly T[]) {
    this.path = path;
    this.kept = kept;
    this.#file = openSync(path, 'a');
  }

  get isOpen(): boolean {
    return this.#file !== undefined;
  }

  append(...lines: readonly T[]): void {
    if (this.#file === undefined) throw new LinnetError('INPUT', `${this.path} is finished; no line can be added`);
    try {
      writeSync(this.#file, lines.map(lineOf).join(''));
    } catch (error) {
      throw fileError('write', this.path, error);
    }
  }

  /** Flushes and closes it; calls after the first do nothing. */
  close(): void {
    if (this.#file === undefined) return;
    fsyncSync(this.#file);
    closeSync(this.#file);
    this.#file = undefined;
  }

  async remove(): Promise<void> {
    this.close();
    await rm(this.path, { force: true });
  }
}

/** Numbers without a spelling in JSON are written as text; a schema turns them back where it expects them. */
function lineOf(value: unknown): string {
  const spelled = (_: string, part: unknown): unknown =>
    typeof part === 'number' && !Number.isFinite(part) ? String(part) : part;
  return `${JSON.stringify(value, spelled)}\n`;
}

/** The whole lines of a text; after the last line break there is nothing, or a line torn by a power cut. */
export function parseLines<T>(kind: RunFile<T>, text: string, path: string): T[] {
  const lines = text.split('\n');
  return (kind.isForgiving === true ? lines : lines.slice(0, -1)).flatMap((line, at) => {
    if (kind.isForgiving !== true) return [parsed(kind, line, `${path}, line ${at + 1}`)];
    try {
      return line === '' ? [] : [parsed(kind, line, path)];
    } catch {
      return [];
    }
  });
}

function parsed<T>({ schema, what, remedy }: RunFile<T>, text: string, source: string): T {
  const advice = remedy === undefined ? '' : `; ${remedy}`;
  checkJsonLimits(Buffer.from(text), source); // schemas of JSON call themselves for every level
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new LinnetError('FORMAT', `${source} is not JSON${advice}`, { cause });
  }
  return validated(schema, value, 'FORMAT', `${source} is not ${what}${advice}`);
}
