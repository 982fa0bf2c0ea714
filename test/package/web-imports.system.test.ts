/**
 * The entry for browsers must not need Node: walks everything that `src/web.ts` reaches, by static and dynamic imports,
 * and looks for Node's modules, the native engine and globals that only Node has.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

/** Packages that run in browsers. Reach for another only if it does, and is worth its size. */
const browserPackages = [
  'zod',
  '@eslint-community/regexpp',
  '@huggingface/jinja',
  '@huggingface/tokenizers',
  '@bufbuild/protobuf',
  '@bufbuild/protobuf/codegenv2',
  'onnxruntime-web/wasm',
  'onnxruntime-web/webgpu',
];
/** Names that only Node defines. `setImmediate` is not among them: decoding/step-engine.ts asks for its type first. */
const nodeGlobals = new Set(['Buffer', 'process', 'require', '__dirname', '__filename']);

/** A file as it runs: imports of types alone are gone. */
function erased(text: string): string {
  const compilerOptions = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true };
  return ts.transpileModule(text, { compilerOptions }).outputText;
}

/** Specifiers of the imports and re-exports that are left when the file runs. */
function importsOf(script: string): string[] {
  return ts.preProcessFile(script, true, true).importedFiles.map(({ fileName }) => fileName);
}

/** Names of Node's globals that the file uses as variables. */
function nodeGlobalsOf(script: string): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node) && nodeGlobals.has(node.text)) {
      const { parent } = node;
      const isMember =
        (ts.isPropertyAccessExpression(parent) && parent.name === node) ||
        (ts.isPropertyAssignment(parent) && parent.name === node) ||
        ((ts.isMethodDeclaration(parent) || ts.isPropertyDeclaration(parent)) && parent.name === node);
      if (!isMember) found.push(node.text);
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile('file.js', script, ts.ScriptTarget.ES2023, true));
  return found;
}

interface Reached {
  /** URL of each file → the one that imports it. */
  readonly files: ReadonlyMap<string, string>;
  /** What is wrong, with the chain of imports that leads there. */
  readonly violations: string[];
}

/** @param without end of the path of a file that is not walked into */
function walk(entry: URL, without?: string): Reached {
  const files = new Map<string, string>([[entry.href, '']]);
  const violations: string[] = [];
  const chain = (href: string): string => {
    const importer = files.get(href) ?? '';
    return `${importer === '' ? '' : `${chain(importer)} → `}${href.slice(href.lastIndexOf('/src/') + 1)}`;
  };
  for (const href of files.keys()) {
    if (without !== undefined && href.endsWith(without)) continue;
    const script = erased(readFileSync(fileURLToPath(href), 'utf8'));
    for (const name of nodeGlobalsOf(script)) violations.push(`${chain(href)} uses ${name}`);
    for (const specifier of importsOf(script)) {
      if (specifier.startsWith('.')) {
        const target = new URL(specifier, href).href;
        if (!files.has(target)) files.set(target, href);
      } else if (!browserPackages.includes(specifier)) {
        violations.push(`${chain(href)} imports ${specifier}`);
      }
    }
  }
  return { files, violations };
}

describe('the entry for browsers', () => {
  const { files, violations } = walk(new URL('../../src/web.ts', import.meta.url));

  it('reaches nothing that needs Node', () => {
    expect(violations).toEqual([]);
  });

  it('reaches what it is about, and a graph compiler only where a GGUF file is opened', () => {
    const packed = 'open/web-gguf.ts';
    expect(files.get(new URL(`../../src/${packed}`, import.meta.url).href)).toMatch(/open\/web\.ts$/);
    const others = walk(new URL('../../src/web.ts', import.meta.url), packed).files;
    const reached = (path: string): boolean => [...others.keys()].some((href) => href.endsWith(`/src/${path}`));
    expect(reached('decoding/step-engine.ts')).toBe(true);
    expect(reached('runtime/web-engine.ts')).toBe(true);
    expect(reached('tokenizer/hugging-face.ts')).toBe(true);
    expect(reached('graph/onnx/writer.ts')).toBe(false);
  });
});

describe('the entry for training in browsers', () => {
  const { files, violations } = walk(new URL('../../src/web-training.ts', import.meta.url));

  it('reaches nothing that needs Node', () => {
    expect(violations).toEqual([]);
  });

  it('reaches the graph compiler and the loop of training', () => {
    const reached = (path: string): boolean => [...files.keys()].some((href) => href.endsWith(`/src/${path}`));
    expect(reached('graph/onnx/writer.ts')).toBe(true);
    expect(reached('training/updates.ts')).toBe(true);
    expect(reached('training/trainer.ts')).toBe(false);
  });
});

describe('the walk itself', () => {
  it('finds what the entry for Node needs', () => {
    const { violations } = walk(new URL('../../src/index.ts', import.meta.url));
    expect(violations.join('\n')).toMatch(/src\/index\.ts → .* imports node:fs\/promises/);
    expect(violations.join('\n')).toMatch(/imports onnxruntime-node/);
  });

  it('sees dynamic imports, and not those of types', () => {
    const script = erased(
      `import type { A } from 'a'; import { type B } from 'b'; export * from 'c'; export const d = () => import('d');`,
    );
    // `import { type B }` stays an import for its effects.
    expect(importsOf(script)).toEqual(['b', 'c', 'd']);
  });

  it('sees globals, and not members of their names', () => {
    expect(nodeGlobalsOf('const a = { process: 1 }; a.process; class X { process() {} }')).toEqual([]);
    expect(nodeGlobalsOf('process.exit(); Buffer.from([])')).toEqual(['process', 'Buffer']);
  });
});
