/**
 * The shape of the source tree: folders import in one direction only, files have one subject and a size to match.
 * CONTRIBUTING explains the order of the folders; the list below is what counts.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { preProcessFile } from 'typescript';
import { describe, expect, it } from 'vitest';

/** Each folder may import from itself and from folders before it. */
const FOLDER_ORDER = [
  'files',
  'redis',
  'jobs',
  'graph',
  'runtime',
  'nn',
  'attention',
  'models',
  'checkpoint',
  'quantization',
  'tokenizer',
  'data',
  'decoding',
  'engine',
  'export',
  'open',
  'ai-sdk',
  'report',
  'training',
  'evaluation',
  'conversion',
  'studies',
  'browser',
  'serving',
  'runs',
  'cli',
];
/** Files directly under src/ that every folder may import, and that themselves import nothing of ours. */
const ROOT_FILES = ['errors.ts', 'random.ts'];
/** Entry points: they gather the public API and may import anything; no folder may import them. */
const ENTRY_FILES = ['index.ts', 'web.ts', 'web-training.ts'];
const NAMES_THAT_SAY_NOTHING = /^(utils?|helpers?|commons?|misc|lib)$/i;
const MAXIMUM_LINES = 400;

interface SourceFile {
  /** Path relative to src/, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

const sourceRoot = fileURLToPath(new URL('../../src', import.meta.url));

function readSourceTree(): SourceFile[] {
  return readdirSync(sourceRoot, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({ path: relative(sourceRoot, path).split(sep).join('/'), text: readFileSync(path, 'utf8') }));
}

/** The top folder of a path relative to src/, or undefined for a file directly in src/. */
function folderOf(path: string): string | undefined {
  return path.includes('/') ? path.slice(0, path.indexOf('/')) : undefined;
}

/** Relative specifiers of static and dynamic imports, re-exports and `import()` types. */
function relativeImports(file: SourceFile): string[] {
  const { importedFiles } = preProcessFile(file.text, true, true);
  return importedFiles.map((found) => found.fileName).filter((specifier) => specifier.startsWith('.'));
}

function importViolation(file: SourceFile, specifier: string): string | undefined {
  const where = `src/${file.path} imports '${specifier}'`;
  const target = join(dirname(file.path), specifier).split(sep).join('/');
  // A test may use what serves all tests: golden numbers and fixtures live in test/.
  if (target.startsWith('../test/') && file.path.endsWith('.test.ts')) return undefined;
  if (target.startsWith('..')) return `${where}, which lies outside src/. Move what is needed into src/.`;
  if (!specifier.endsWith('.ts')) return `${where}: relative imports end in .ts`;

  const from = folderOf(file.path);
  const to = folderOf(target);
  if (to === undefined) {
    if (from === undefined && ENTRY_FILES.includes(file.path)) return undefined;
    if (ROOT_FILES.includes(target)) return undefined;
    return `${where}. Of the files directly in src/ only ${ROOT_FILES.join(' and ')} may be imported.`;
  }
  if (from === undefined) {
    if (ENTRY_FILES.includes(file.path)) return undefined;
    return `${where}. ${file.path} stands below every folder and may import none of them.`;
  }
  if (FOLDER_ORDER.indexOf(to) > FOLDER_ORDER.indexOf(from)) {
    return (
      `${where}, but src/${from} comes before src/${to}. ` +
      `Let src/${to} pass in what src/${from} needs, or move the shared part into src/${from} or earlier.`
    );
  }
  return undefined;
}

/** Everything wrong with one file's place, name, size and imports, as sentences that say what to do. */
function violations(file: SourceFile): string[] {
  const found: string[] = [];
  const folder = folderOf(file.path);
  if (folder === undefined && ![...ROOT_FILES, ...ENTRY_FILES].includes(file.path.replace(/\.test\.ts$/, '.ts'))) {
    found.push(`src/${file.path} lies directly in src/. Move it into the folder of its subject.`);
  }
  if (folder !== undefined && !FOLDER_ORDER.includes(folder)) {
    found.push(
      `src/${folder} has no place in the order of folders. Add it to FOLDER_ORDER in test/package/imports.test.ts.`,
    );
  }
  for (const part of file.path.replace(/(\.test)?\.ts$/, '').split('/')) {
    if (NAMES_THAT_SAY_NOTHING.test(part)) {
      found.push(`src/${file.path}: '${part}' says nothing about its content. Name the subject.`);
    }
  }
  if (file.path.endsWith('_pb.ts')) return found; // generated: neither its length nor its imports are ours
  const lines = file.text.split('\n').length - (file.text.endsWith('\n') ? 1 : 0);
  if (lines > MAXIMUM_LINES) {
    found.push(`src/${file.path} has ${lines} lines, ${MAXIMUM_LINES} at most. Split it by subject.`);
  }
  for (const specifier of relativeImports(file)) {
    const violation = importViolation(file, specifier);
    if (violation !== undefined) found.push(violation);
  }
  return found;
}

describe('the source tree', () => {
  it('keeps the direction of imports, telling names and file sizes', () => {
    const files = readSourceTree();
    expect(files.length).toBeGreaterThan(5);
    expect(files.flatMap(violations)).toEqual([]);
  });
});

describe('the rule itself', () => {
  const check = (path: string, text: string): string[] => violations({ path, text });

  it('allows imports from the same folder, earlier folders and the root files', () => {
    const text = `
      import { a } from './neighbour.ts';
      import type { B } from '../graph/tensor.ts';
      import { LinnetError } from '../errors.ts';
      import { readFile } from 'node:fs/promises';
    `;
    expect(check('nn/linear.ts', text)).toEqual([]);
  });

  it.each([
    ['a static import', `import { train } from '../training/trainer.ts';`],
    ['a type import', `import type { Trainer } from '../training/trainer.ts';`],
    ['a re-export', `export * from '../training/trainer.ts';`],
    ['a dynamic import', `export const load = () => import('../training/trainer.ts');`],
    ['an import type', `export type T = import('../training/trainer.ts').Trainer;`],
    ['a nested path', `import { x } from '../training/objectives/causal.ts';`],
  ])('reports %s of a later folder', (_, text) => {
    expect(check('nn/linear.ts', text)).toEqual([expect.stringMatching(/src\/nn comes before src\/training/)]);
  });

  it('follows imports out of sub-folders', () => {
    expect(check('graph/ops/softmax.ts', `import '../../nn/linear.ts';`)).toEqual([
      expect.stringMatching(/src\/graph comes before src\/nn/),
    ]);
    expect(check('graph/ops/softmax.ts', `import '../shape.ts';`)).toEqual([]);
  });

  it('is not fooled by imports in comments and strings', () => {
    expect(check('graph/a.ts', `// import '../cli/main.ts'\nexport const s = "import '../cli/main.ts'";`)).toEqual([]);
  });

  it('keeps the root files below every folder and the entry files above', () => {
    expect(check('errors.ts', `import '../src/graph/tensor.ts';`)).not.toEqual([]);
    expect(check('errors.ts', `import './graph/tensor.ts';`)).toEqual([expect.stringMatching(/below every folder/)]);
    expect(check('index.ts', `export * from './cli/main.ts';`)).toEqual([]);
    expect(check('cli/main.ts', `import '../index.ts';`)).toEqual([expect.stringMatching(/only errors\.ts/)]);
  });

  it('lets only tests reach into test/', () => {
    expect(check('graph/a.test.ts', `import { golden } from '../../test/fixtures.ts';`)).toEqual([]);
    expect(check('graph/a.ts', `import { golden } from '../../test/fixtures.ts';`)).toEqual([
      expect.stringMatching(/outside src/),
    ]);
  });

  it('wants specifiers with their extension', () => {
    expect(check('graph/a.ts', `import './b.js';`)).toEqual([expect.stringMatching(/end in \.ts/)]);
  });

  it('reports files and folders without a subject or a place', () => {
    expect(check('graph/utils.ts', '')).toEqual([expect.stringMatching(/'utils' says nothing/)]);
    expect(check('graph/helpers/shape.ts', '')).toEqual([expect.stringMatching(/'helpers' says nothing/)]);
    expect(check('common/shape.ts', '')).toHaveLength(2);
    expect(check('stray.ts', '')).toEqual([expect.stringMatching(/directly in src/)]);
  });

  it('reports long files, generated ones excepted', () => {
    const lines = (count: number): string => 'export {};\n'.repeat(count);
    expect(check('graph/a.ts', lines(400))).toEqual([]);
    expect(check('graph/a.ts', lines(401))).toEqual([expect.stringMatching(/401 lines, 400 at most/)]);
    expect(check('graph/onnx_pb.ts', lines(4000))).toEqual([]);
  });
});
