/** The project's own sources as text: without tests and without generated files. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { projectRoot } from './entries.ts';

/** A file with its path relative to the project, with forward slashes. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** The TypeScript files of a folder of the project, in alphabetical order. */
export function sourceFiles(folder: string): SourceFile[] {
  return readdirSync(join(projectRoot, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name) && !/(\.test\.tsx?|_pb\.ts)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
    .map((path) => ({ path: relative(projectRoot, path).split(sep).join('/'), text: readFileSync(path, 'utf8') }));
}

/** Lines by folder of src; `.` are the files directly in src. */
export function linesByFolder(files: readonly SourceFile[] = sourceFiles('src')): Map<string, number> {
  const lines = new Map<string, number>();
  for (const { path, text } of files) {
    const parts = path.split('/');
    const folder = parts.length > 2 ? parts[1] : '.';
    lines.set(folder, (lines.get(folder) ?? 0) + text.split('\n').length - 1);
  }
  return lines;
}
