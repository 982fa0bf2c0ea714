/** No circles of imports, types included: of two files one can be read without the other. */
import { dirname, posix } from 'node:path';
import { preProcessFile } from 'typescript';
import { describe, expect, it } from 'vitest';
import { type SourceFile, sourceFiles } from '../../scripts/source-tree.ts';

/** Circles that are still there, by the names of their files. This list may only become shorter. */
const knownCircles: readonly string[] = [];

/** The relative imports of each file, where they lead to one of the files. */
function importGraph(files: readonly SourceFile[]): Map<string, string[]> {
  const paths = new Set(files.map(({ path }) => path));
  const imports = files.map(({ path, text }): [string, string[]] => {
    const specifiers = preProcessFile(text, true, true).importedFiles.map(({ fileName }) => fileName);
    return [path, specifiers.map((name) => posix.join(dirname(path), name)).filter((target) => paths.has(target))];
  });
  return new Map(imports);
}

/** Files that import one another by some way: the strongly connected components of more than one file (Tarjan, 1972). */
function circles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const order = new Map<string, number>();
  const open: string[] = [];
  const found: string[][] = [];
  const visit = (file: string): number => {
    const index = order.size;
    let low = index;
    order.set(file, index);
    open.push(file);
    for (const target of graph.get(file) ?? []) {
      if (!order.has(target)) low = Math.min(low, visit(target));
      else if (open.includes(target)) low = Math.min(low, order.get(target) ?? low);
    }
    if (low === index) {
      const circle = open.splice(open.indexOf(file));
      if (circle.length > 1) found.push(circle.sort());
    }
    return low;
  };
  for (const file of graph.keys()) if (!order.has(file)) visit(file);
  return found;
}

describe('the imports of src and web', () => {
  const found = circles(importGraph([...sourceFiles('src'), ...sourceFiles('web')])).map((circle) => ({
    names: circle
      .map((path) => posix.basename(path))
      .sort()
      .join(' '),
    paths: circle.join(' '),
  }));

  it('make no circles', () => {
    expect(found.filter(({ names }) => !knownCircles.includes(names)).map(({ paths }) => paths)).toEqual([]);
  });

  it('leave the list of circles as soon as they make none', () => {
    const left = new Set(found.map(({ names }) => names));
    expect(knownCircles.filter((names) => !left.has(names))).toEqual([]);
  });
});

describe('the rule itself', () => {
  it('sees circles of two files and of more, and no shared imports', () => {
    const graph = new Map([
      ['a', ['b', 'c']],
      ['b', ['d']],
      ['c', ['d', 'e']],
      ['d', []],
      ['e', ['f']],
      ['f', ['c', 'g']],
      ['g', ['h', 'd']],
      ['h', ['g']],
    ]);
    expect(circles(graph)).toEqual([
      ['g', 'h'],
      ['c', 'e', 'f'],
    ]);
  });

  it('follows imports of types and dynamic ones', () => {
    const files = [
      { path: 'src/a/one.ts', text: `import type { Two } from '../b/two.ts';` },
      { path: 'src/b/two.ts', text: `export const one = () => import('../a/one.ts');` },
    ];
    expect(circles(importGraph(files))).toEqual([['src/a/one.ts', 'src/b/two.ts']]);
  });
});
