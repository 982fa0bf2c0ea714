/** An exported name, types included, is declared once in src and web: a reader who knows it from one file knows it in all. */
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { type SourceFile, sourceFiles } from '../../scripts/source-tree.ts';

/** Names that are still declared more than once, with their number of declarations. This list may only become shorter. */
const declaredOften: Readonly<Record<string, number>> = {};

/** Names that a file imports. */
function importedNames({ statements }: ts.SourceFile): Set<string> {
  const bindings = statements.filter(ts.isImportDeclaration).map(({ importClause }) => importClause?.namedBindings);
  const named = bindings.filter((binding) => binding !== undefined && ts.isNamedImports(binding));
  return new Set(named.flatMap(({ elements }) => elements.map(({ name }) => name.text)));
}

/** Names that a file declares and exports; what it only passes on does not count. */
function declaredNames({ path, text }: SourceFile): Set<string> {
  const names = new Set<string>();
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const imported = importedNames(file);
  for (const statement of file.statements) {
    if (ts.isExportDeclaration(statement) && !statement.moduleSpecifier && statement.exportClause) {
      if (ts.isNamedExports(statement.exportClause)) {
        for (const { name } of statement.exportClause.elements) if (!imported.has(name.text)) names.add(name.text);
      }
    }
    if (!ts.canHaveModifiers(statement)) continue;
    if (!ts.getModifiers(statement)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)) continue;
    if (ts.isVariableStatement(statement)) {
      for (const { name } of statement.declarationList.declarations) if (ts.isIdentifier(name)) names.add(name.text);
    } else if ('name' in statement && statement.name !== undefined && ts.isIdentifier(statement.name)) {
      names.add(statement.name.text);
    }
  }
  return names;
}

/** The files that declare each name, for names of several files. */
function repeatedNames(files: readonly SourceFile[]): Map<string, string[]> {
  const places = new Map<string, string[]>();
  for (const file of files) {
    for (const name of declaredNames(file)) places.set(name, [...(places.get(name) ?? []), file.path]);
  }
  return new Map([...places].filter(([, paths]) => paths.length > 1));
}

describe('exported names', () => {
  const repeated = repeatedNames([...sourceFiles('src'), ...sourceFiles('web')]);

  it('are declared once', () => {
    const wrong = [...repeated]
      .filter(([name, paths]) => paths.length > (declaredOften[name] ?? 1))
      .map(([name, paths]) => `${name}: ${paths.join(', ')}`);
    expect(wrong).toEqual([]);
  });

  it('leave the list of repeated ones as soon as they are declared once', () => {
    const listed = Object.keys(declaredOften).filter((name) => (repeated.get(name)?.length ?? 1) < declaredOften[name]);
    expect(listed, `remove ${listed.join(', ')}`).toEqual([]);
  });
});

describe('the rule itself', () => {
  const repeated = (...texts: string[]): string[] => [
    ...repeatedNames(texts.map((text, index) => ({ path: `${index}.ts`, text }))).keys(),
  ];

  it.each([
    ['constants', 'export const name = 1;'],
    ['functions', 'export async function name(): Promise<void> {}'],
    ['types', 'export type name = string;'],
    ['interfaces', 'export interface name {}'],
    ['classes', 'export class name {}'],
    ['lists of exports', 'const name = 1; export { name };'],
  ])('sees %s', (_, text) => {
    expect(repeated(text, 'export const name = 2;')).toEqual(['name']);
  });

  it('does not count what is passed on, local or overloaded', () => {
    const passed = `export { name } from './0.ts'; const other = 1;`;
    const imported = `import { type name } from './0.ts'; export { type name };`;
    const overloaded = 'export function name(a: 1): 1; export function name(a: 2): 2; const other = 1;';
    expect(repeated(passed, imported, overloaded)).toEqual([]);
  });
});
