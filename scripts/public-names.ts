/** The package entries' exports, as the compiler sees them. */
import { join } from 'node:path';
import ts from 'typescript';
import { type PackageEntry, packageEntries, projectRoot } from './entries.ts';

/** An exported name and its declaration. */
export interface PublicName {
  readonly name: string;
  readonly symbol: ts.Symbol;
}

/** An entry and its names in alphabetical order. */
export interface PublicEntry {
  readonly entry: PackageEntry;
  readonly names: readonly PublicName[];
}

/** The options in the project's tsconfig.json. */
export function compilerOptions(): ts.CompilerOptions {
  const host = { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => undefined };
  return ts.getParsedCommandLineOfConfigFile(join(projectRoot, 'tsconfig.json'), undefined, host)?.options ?? {};
}

/** Reads all entries. @param of the source files, or the built declarations */
export function publicEntries(of: 'source' | 'declarations'): { checker: ts.TypeChecker; entries: PublicEntry[] } {
  const entries = packageEntries();
  const files = entries.map((entry) => join(projectRoot, entry[of]));
  const options = compilerOptions();
  const program = ts.createProgram(files, options);
  const checker = program.getTypeChecker();
  return {
    checker,
    entries: entries.map((entry, index) => {
      const file = program.getSourceFile(files[index]);
      const module = file && checker.getSymbolAtLocation(file);
      if (module === undefined) throw new Error(`${files[index]} is missing or exports nothing; run npm run build`);
      const names = checker.getExportsOfModule(module).map((symbol) => ({
        name: symbol.name,
        symbol: symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol,
      }));
      return { entry, names: names.sort((a, b) => (a.name < b.name ? -1 : 1)) };
    }),
  };
}
