/** The entries of the package: what is where, and how much of it. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { packageEntries, projectRoot } from '../../scripts/entries.ts';
import { publicEntries } from '../../scripts/public-names.ts';

/** More than one can take in at the front door is less than none. */
const mostRootNames = 60;

/** `open` of the browser takes a URL alone. */
const ownMeaning: Readonly<Record<string, readonly string[]>> = {
  'linnet/web': ['open'],
};

describe('the entries of the package', () => {
  let entries: ReturnType<typeof publicEntries>['entries'];
  beforeAll(() => {
    ({ entries } = publicEntries('source'));
  });

  it('are there', () => {
    const specifiers = packageEntries().map(({ specifier }) => specifier);
    for (const name of ['attention', 'decoding', 'evaluation', 'graph', 'report', 'training', 'web']) {
      expect(specifiers).toContain(`linnet/${name}`);
    }
    for (const { source } of packageEntries()) expect(existsSync(join(projectRoot, source)), source).toBe(true);
  });

  it('have a small root, with the front door in it', () => {
    const root = entries.find(({ entry }) => entry.specifier === 'linnet');
    const names = root?.names.map(({ name }) => name) ?? [];
    expect(names).toContain('open');
    expect(names.length).toBeLessThanOrEqual(mostRootNames);
  });

  it('mean the same by a name, wherever it is', () => {
    const seen = new Map<string, unknown>();
    for (const { entry, names } of entries) {
      for (const { name, symbol } of names) {
        if (ownMeaning[entry.specifier]?.includes(name)) continue;
        const known = seen.get(name);
        if (known !== undefined) expect(symbol === known, `${name} in ${entry.specifier}`).toBe(true);
        seen.set(name, symbol);
      }
    }
  });
});
