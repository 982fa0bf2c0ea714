/** The project's own sources as text, without tests and generated files. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import ts from 'typescript';
import { projectRoot } from './entries.ts';

/** A file; its path is relative to the project, with forward slashes. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** A project folder's TypeScript files, in alphabetical order. */
export function sourceFiles(folder: string): SourceFile[] {
  return readdirSync(join(projectRoot, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name) && !/(\.test\.tsx?|_pb\.ts)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
    .map((path) => ({ path: relative(projectRoot, path).split(sep).join('/'), text: readFileSync(path, 'utf8') }));
}

/** Project folders with budgets. */
const measured = ['src', 'web', 'bench'] as const;

/** Tokens by folder, such as `src/graph`; `src/.` holds the files directly in src. Excludes generated files. */
export function tokensByFolder(files: readonly SourceFile[] = measured.flatMap(sourceFiles)): Map<string, number> {
  const tokens = new Map<string, number>();
  for (const { path, text } of files) {
    if (path.endsWith('.d.ts') || /^\/[/*] @generated/m.test(text.slice(0, 400))) continue;
    const [top, ...rest] = path.split('/');
    const folder = `${top}/${rest.length > 1 ? rest[0] : '.'}`;
    tokens.set(
      folder,
      (tokens.get(folder) ?? 0) + tokensOf(ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)),
    );
  }
  return tokens;
}

/** Syntax tree leaves with text; comments do not count. */
function tokensOf(source: ts.SourceFile, node: ts.Node = source): number {
  if (ts.isJSDoc(node)) return 0;
  const children = node.getChildren(source);
  if (children.length === 0) return node.getWidth(source) > 0 ? 1 : 0;
  return children.reduce((sum, child) => sum + tokensOf(source, child), 0);
}
