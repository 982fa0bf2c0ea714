/** The package's entries: the source file of each subpath, from package.json. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

/** One line of "exports". */
export interface PackageEntry {
  /** The name that programs import: "linnet", "linnet/attention". */
  readonly specifier: string;
  /** Path of the source file from the project root. */
  readonly source: string;
  /** Path of the declarations that the build generates. */
  readonly declarations: string;
}

const manifestSchema = z.object({
  exports: z.record(z.string(), z.union([z.string(), z.object({ types: z.string(), default: z.string() })])),
});

/** The project root. */
export const projectRoot = fileURLToPath(new URL('..', import.meta.url));

/** The entries in the order of package.json. */
export function packageEntries(): PackageEntry[] {
  const manifest = manifestSchema.parse(JSON.parse(readFileSync(`${projectRoot}package.json`, 'utf8')));
  return Object.entries(manifest.exports).flatMap(([subPath, target]) => {
    if (typeof target === 'string') return [];
    const source = target.default.replace(/^\.\/dist\/(.*)\.js$/, 'src/$1.ts');
    return [{ specifier: `linnet${subPath.slice(1)}`, source, declarations: target.types.slice(2) }];
  });
}
