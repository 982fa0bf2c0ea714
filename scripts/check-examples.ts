/**
 * Type-checks the `@example`s of public functions, and the TypeScript blocks of README.md and docs/ as they stand, with
 * `noUncheckedIndexedAccess`, which a reader's project may use. In an `@example`, public names need no import, and the function's
 * parameter names stand for values of their types. A call that only repeats the signature is no example: such a function has none.
 *
 *     npm run examples
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { packageEntries, projectRoot } from './entries.ts';
import { compilerOptions, publicEntries } from './public-names.ts';

interface Example {
  /** Path of the example's virtual file. */
  readonly file: string;
  readonly text: string;
}

const { checker, entries } = publicEntries('source');

/** The first entry that exports a name. */
const homes = new Map<string, string>();
for (const { entry, names } of entries) {
  for (const { name } of names) if (!homes.has(name)) homes.set(name, entry.specifier);
}

/** Identifiers that a text uses as variables or types, and identifiers that it declares or imports. */
function identifiers(text: string): { used: Set<string>; declared: Set<string> } {
  const used = new Set<string>();
  const declared = new Set<string>();
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node)) {
      const { parent } = node;
      const isMember =
        (ts.isPropertyAccessExpression(parent) && parent.name === node) ||
        (ts.isPropertyAssignment(parent) && parent.name === node);
      const isDeclared =
        (ts.isVariableDeclaration(parent) || ts.isBindingElement(parent) || ts.isParameter(parent)) &&
        parent.name === node;
      if (isDeclared || ts.isImportSpecifier(parent)) declared.add(node.text);
      else if (!isMember) used.add(node.text);
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile('example.ts', text, ts.ScriptTarget.ES2023, true));
  return { used, declared };
}

/** An example as its own module. */
function moduleOf(specifier: string, name: string, symbol: ts.Symbol, code: string): string {
  const { used, declared } = identifiers(code);
  const parameters = (checker.getTypeOfSymbol(symbol).getCallSignatures()[0]?.parameters ?? []).map(({ name: p }) => p);
  const lines: string[] = [];
  for (const other of used) {
    if (declared.has(other) || parameters.includes(other) || other === name) continue;
    const home = homes.get(other);
    if (home !== undefined) lines.push(`import { ${other} } from '${home}';`);
  }
  if (!declared.has(name)) lines.push(`import { ${name} } from '${specifier}';`);
  parameters.forEach((parameter, index) => {
    if (!used.has(parameter) || declared.has(parameter)) return;
    lines.push(`declare const ${parameter}: NonNullable<Parameters<typeof ${name}>[${index}]>;`);
  });
  return `${lines.join('\n')}\n${code}\nexport {};\n`;
}

const examples: Example[] = [];
const seen = new Set<ts.Symbol>();
for (const { entry, names } of entries) {
  for (const { name, symbol } of names) {
    if (seen.has(symbol) || !(symbol.flags & ts.SymbolFlags.Function)) continue;
    seen.add(symbol);
    const tags = symbol.getJsDocTags(checker).filter((tag) => tag.name === 'example');
    tags.forEach(({ text }, index) => {
      const code = ts.displayPartsToString(text).replace(/^\s*```ts\n|```\s*$/g, '');
      const file = join(projectRoot, 'api', `${entry.specifier.replace('/', '-')}.${name}.${index}.ts`);
      examples.push({ file, text: moduleOf(entry.specifier, name, symbol, code) });
    });
  }
}

const count = examples.length;
const pages = readdirSync(join(projectRoot, 'docs'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.md'))
  .map((name) => join('docs', name));
for (const page of ['README.md', ...pages]) {
  const markdown = readFileSync(join(projectRoot, page), 'utf8');
  for (const { index, 1: text } of markdown.matchAll(/^ *```ts\n(.*?)^ *```$/gms)) {
    const line = markdown.slice(0, index).split('\n').length;
    examples.push({ file: join(projectRoot, `${page}.${line}.ts`), text: `${text}export {};\n` });
  }
}

const options = compilerOptions();
const paths = Object.fromEntries(
  packageEntries().map(({ specifier, source }) => [specifier, [join(projectRoot, source)]]),
);
const checked = {
  ...{
    ...options,
    noUncheckedIndexedAccess: true,
    paths,
    noUnusedLocals: false,
    verbatimModuleSyntax: false,
    isolatedModules: false,
  },
  lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts', 'lib.dom.d.ts'],
};
const virtual = new Map(examples.map(({ file, text }) => [file, text]));
const disk = ts.createCompilerHost(checked);
const host: ts.CompilerHost = {
  ...disk,
  fileExists: (file) => virtual.has(file) || disk.fileExists(file),
  readFile: (file) => virtual.get(file) ?? disk.readFile(file),
  getSourceFile(file, target, ...rest) {
    const text = virtual.get(file);
    if (text === undefined) return disk.getSourceFile(file, target, ...rest);
    return ts.createSourceFile(file, text, {
      languageVersion: ts.ScriptTarget.ES2023,
      impliedNodeFormat: ts.ModuleKind.ESNext,
    });
  },
};
const program = ts.createProgram([...virtual.keys()], checked, host);
const faults = [...virtual.keys()].flatMap((file) => {
  const source = program.getSourceFile(file);
  if (source === undefined) return [];
  return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
});
if (faults.length > 0) {
  console.error(
    ts.formatDiagnostics(faults, {
      getCanonicalFileName: (f) => f,
      getCurrentDirectory: () => projectRoot,
      getNewLine: () => '\n',
    }),
  );
}
if (faults.length > 0) process.exitCode = 1;
else console.log(`${count} examples of public functions and ${examples.length - count} blocks of the docs type-check`);
