/** `linnet --help` starts quickly because nothing heavy is loaded before a command is named. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

/** What a module loads when it is loaded: imports of values, not of types, and not those inside functions. */
function loadedBy(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  const statements = text.matchAll(/^(?:import|export) (?!type )(?:[^;]*? from )?'([^']+)'/gm);
  return [...statements].map(([, specifier]) => specifier);
}

/** Packages that are loaded with a module, through all modules of ours that it loads. */
function packagesOf(entry: string): Set<string> {
  const packages = new Set<string>();
  const pending = [entry];
  const seen = new Set<string>();
  for (let file = pending.pop(); file !== undefined; file = pending.pop()) {
    if (seen.has(file)) continue;
    seen.add(file);
    for (const specifier of loadedBy(file)) {
      if (specifier.startsWith('.')) pending.push(resolve(dirname(file), specifier));
      else packages.add(specifier);
    }
  }
  return packages;
}

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

it('loads the parser alone before a command is named', () => {
  expect([...packagesOf(here('./framework/process.ts'))].sort()).toEqual(['commander', 'node:fs']);
  expect(packagesOf(here('./main.ts')).size).toBe(0);
});

it('would notice more', () => {
  expect(packagesOf(here('./commands/inspect.ts'))).toContain('zod');
});
