/**
 * Writes the package's public surface, entry by entry, into api/, so that every change of it shows
 * in review. Reads the declarations in dist/, so build first.
 *
 *     npm run api              writes the files
 *     npm run api -- --check   fails if they are out of date
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { projectRoot } from './entries.ts';
import { type PublicEntry, publicEntries } from './public-names.ts';

const folder = join(projectRoot, 'api');
const printer = ts.createPrinter({ removeComments: true });

/** A symbol's declarations, without comments and bodies. */
function declared(symbol: ts.Symbol): string {
  return (symbol.declarations ?? [])
    .map((declaration) => {
      if (ts.isSourceFile(declaration)) return `namespace: ${[...(symbol.exports?.keys() ?? [])].sort().join(', ')}`;
      const node = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration;
      return printer.printNode(ts.EmitHint.Unspecified, node, declaration.getSourceFile());
    })
    .join('\n');
}

/** An entry's report; names that an earlier entry exports only refer to it. */
function report({ entry, names }: PublicEntry, homes: Map<ts.Symbol, string>): string {
  const lines = names.map(({ name, symbol }) => {
    const home = homes.get(symbol);
    if (home !== undefined) return `${name}: as in ${home}`;
    homes.set(symbol, entry.specifier);
    return declared(symbol);
  });
  return `${entry.specifier}: ${names.length} names\n\n${lines.join('\n\n')}\n`;
}

const homes = new Map<ts.Symbol, string>();
const reports = new Map<string, string>();
for (const entry of publicEntries('declarations').entries) {
  reports.set(`${entry.entry.specifier.replaceAll('/', '-')}.txt`, report(entry, homes));
}
if (process.argv.includes('--check')) {
  const known = existsSync(folder) ? readdirSync(folder) : [];
  const changed = [...reports].filter(
    ([file, text]) => !known.includes(file) || readFileSync(join(folder, file), 'utf8') !== text,
  );
  const stale = [...changed.map(([file]) => file), ...known.filter((file) => !reports.has(file))];
  if (stale.length > 0) {
    console.error(`The public surface has changed: ${stale.join(', ')}. Run npm run api and commit the result.`);
    process.exitCode = 1;
  }
} else {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  for (const [file, text] of reports) writeFileSync(join(folder, file), text);
  console.log(`wrote ${reports.size} files to api/`);
}
