/**
 * A folder of resumable work. What lets work go on lies in it as *documents*, JSON objects that are replaced as a whole,
 * and as *journals*, JSON lines that are appended as they come; large numbers (snapshots) lie next to them as safetensors.
 *
 * A document is written under a temporary name, flushed and renamed: it is the old one or the new one. A line of a journal is
 * handed to the operating system before `append` returns; a line that a power cut has torn is dropped when the journal is
 * opened again. One process at a time writes a folder: `RunFolder.lock`.
 */
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { z } from 'zod';
import { LinnetError } from '../errors.ts';
import { writeFileAtomic } from './atomic.ts';
import { type FolderLock, lockFolder } from './folder-lock.ts';
import { checkJsonLimits } from './json-limits.ts';
import { fileError, readInFolder } from './regular-file.ts';
import { schemaProblems } from './schema-problems.ts';

/** A kind of file in a run folder. */
export interface RunFile<T> {
  /** Name in the folder. */
  readonly file: string;
  readonly schema: z.ZodType<T>;
  /** What the content is, for errors: "a valid record of a run". */
  readonly what: string;
  /** What to do about a damaged one, for errors. */
  readonly remedy?: string;
  /** A larger file is not ours. Default 1 MiB. */
  readonly mostBytes?: number;
}

/** A folder of resumable work; made without a lock, it is for readers. */
export class RunFolder implements AsyncDisposable {
  readonly path: string;
  readonly #lock: FolderLock | undefined;

  constructor(path: string, lock?: FolderLock) {
    this.path = resolve(path);
    this.#lock = lock;
  }

  /** Takes a folder for this process; it is created if need be. @throws LinnetError `PATH` if another process has it */
  static async lock(path: string): Promise<RunFolder> {
    return new RunFolder(path, await lockFolder(path));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lock?.[Symbol.asyncDispose]();
  }

  /**
   * The content of a document; undefined where there is none.
   * @throws LinnetError `FORMAT` naming what is wrong with it
   */
  async read<T>(kind: RunFile<T>): Promise<T | undefined> {
    const text = await this.#text(kind);
    return text === undefined ? undefined : parsed(kind, text, join(this.path, kind.file));
  }

  /** Replaces a document. @throws LinnetError `PATH` from the file system */
  async write<T>({ file }: RunFile<T>, value: T): Promise<void> {
    await writeFileAtomic(join(this.path, file), `${JSON.stringify(value, undefined, 2)}\n`);
  }

  /**
   * The lines of a journal; undefined where there is none.
   * @throws LinnetError `FORMAT` naming the line that is damaged
   */
  async lines<T>(kind: RunFile<T>): Promise<T[] | undefined> {
    const text = await this.#text(kind);
    return text === undefined ? undefined : parseLines(kind, text, join(this.path, kind.file));
  }

  /**
   * Opens a journal for appending.
   * @param keep which of its lines stay; default all that are whole
   * @throws LinnetError `FORMAT` naming the line that is damaged, `PATH` from the file system
   */
  async journal<T>(kind: RunFile<T>, keep: (line: T) => boolean = () => true): Promise<RunJournal<T>> {
    const path = join(this.path, kind.file);
    const kept = ((await this.lines(kind)) ?? []).filter(keep);
    try {
      await mkdir(dirname(path), { recursive: true });
    } catch (error) {
      throw fileError('create', dirname(path), error);
    }
    await writeFileAtomic(path, kept.map(lineOf).join(''));
    return new RunJournal(path, kept);
  }

  async #text({ file, mostBytes = 1 << 20 }: RunFile<unknown>): Promise<string | undefined> {
    try {
      return (await readInFolder(this.path, file, mostBytes)).toString('utf8');
    } catch (error) {
      if (error instanceof LinnetError && error.code === 'NOT_FOUND') return undefined;
      throw error;
    }
  }
}

/** A journal that is being written. */
export class RunJournal<T> {
  readonly path: string;
  /** The lines that were there when it was opened. */
  readonly kept: readonly T[];
  #file: number | undefined;

  constructor(path: string, kept: readonly T[]) {
    this.path = path;
    this.kept = kept;
    this.#file = openSync(path, 'a');
  }

  append(...lines: readonly T[]): void {
    if (this.#file === undefined) throw new LinnetError('INPUT', `${this.path} is closed; no line can be added`);
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

/** The whole lines of a text; what follows the last line break is nothing, or a line torn by a power cut. */
export function parseLines<T>(kind: RunFile<T>, text: string, path: string): T[] {
  const lines = text.split('\n').slice(0, -1);
  return lines.flatMap((line, at) => (line === '' ? [] : [parsed(kind, line, `${path}, line ${at + 1}`)]));
}

function parsed<T>({ schema, what, remedy }: RunFile<T>, text: string, source: string): T {
  const advice = remedy === undefined ? '' : `; ${remedy}`;
  checkJsonLimits(Buffer.from(text), source); // schemas of JSON call themselves for every level
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LinnetError('FORMAT', `${source} is not JSON: ${reason}${advice}`, { cause });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new LinnetError('FORMAT', `${source} is not ${what}${advice}:\n${schemaProblems(result.error)}`, {
    cause: result.error,
  });
}
