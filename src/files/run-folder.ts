/**
 * A folder of resumable work: *documents*, JSON objects replaced as a whole, and *journals*, appended JSON lines; weight
 * snapshots lie next to them as safetensors.
 *
 * A document is written under a temporary name, flushed and renamed: readers see the old one or the new one. `append` hands a
 * journal's line to the operating system before it returns; reading drops a line torn by a power cut. One process at a time
 * writes a folder: `lockFolder`.
 */
import { closeSync, existsSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { z } from 'zod';
import { ifFound, LinnetError } from '../errors.ts';
import { makeFolder, writeFileAtomic, writeJsonAtomic } from './atomic.ts';
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
  /** Advice for a damaged file, in errors. */
  readonly remedy?: string;
  /** Larger files are not ours. Default 1 MiB. */
  readonly mostBytes?: number;
  /** Whether to skip damaged or foreign lines, and allow an unfinished last one. Default: refuse them. */
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

  /** A document's content. @throws LinnetError `NOT_FOUND` if there is none, `FORMAT` naming the problem */
  async load<T>(kind: RunFile<T>): Promise<T> {
    return parsed(kind, await this.#text(kind), join(this.path, kind.file));
  }

  /** A document's content; undefined if there is none. @throws LinnetError `FORMAT` naming the problem */
  read<T>(kind: RunFile<T>): Promise<T | undefined> {
    return ifFound(this.load(kind));
  }

  /** Replaces a document. @throws LinnetError `PATH` from the file system */
  async write<T>({ file }: RunFile<T>, value: T): Promise<void> {
    await writeJsonAtomic(join(this.path, file), value);
  }

  /** A journal's lines. @throws LinnetError `NOT_FOUND` if there is none, `FORMAT` naming the damaged line */
  async loadLines<T>(kind: RunFile<T>): Promise<T[]> {
    return parseLines(kind, await this.#text(kind), join(this.path, kind.file));
  }

  /**
   * Opens a journal for appending; creates it and the folder if need be.
   * @param keep which lines stay; default all whole ones
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

/** The folder for a run's progress: the given one, or `OUT.run`. */
export function runFolderOf({ run, out }: { readonly run?: string; readonly out: string }): string {
  return run ?? `${out.replace(/\/+$/, '')}.run`;
}

/** A journal open for appending. */
export class LineJournal<T> {
  readonly path: string;
  /** The lines it held when opened. */
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
    if (this.#file === undefined) throw new LinnetError('INPUT', `${this.path} is closed; cannot add a line`);
    try {
      writeSync(this.#file, lines.map(lineOf).join(''));
    } catch (error) {
      throw fileError('write', this.path, error);
    }
  }

  /** Flushes and closes it; later calls do nothing. */
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

/** Writes numbers that JSON cannot spell as text; schemas turn them back where they expect numbers. */
function lineOf(value: unknown): string {
  const spelled = (_: string, part: unknown): unknown =>
    typeof part === 'number' && !Number.isFinite(part) ? String(part) : part;
  return `${JSON.stringify(value, spelled)}\n`;
}

/** A text's whole lines; drops a last line torn by a power cut. */
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
  checkJsonLimits(Buffer.from(text), source); // JSON schemas recurse at every level
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new LinnetError('FORMAT', `${source} is not JSON${advice}`, { cause });
  }
  return validated(schema, value, 'FORMAT', `${source} is not ${what}${advice}`);
}
