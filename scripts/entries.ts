/** The entries of the package: which source file each sub-path is, read from package.json. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

/** One line of "exports". */
export interface PackageEntry {
  /** What programs import: "linnet", "linnet/attention". */
  readonly specifier: string;
  /** Path of the source file from the root of the project. */
  readonly source: string;
  /** Path of the declarations that the build makes of it. */
  readonly declarations: string;
}

const manifestSchema = z.object({
  exports: z.record(z.string(), z.union([z.string(), z.object({ types: z.string(), default: z.string() })])),
});

/** The root of the project. */
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
