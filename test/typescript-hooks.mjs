/** Module hooks that strip the types from TypeScript files. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { transform } from 'esbuild';

const tsconfigRaw = { compilerOptions: { verbatimModuleSyntax: true } };

/** @type {import('node:module').LoadHook} */
export async function load(url, context, nextLoad) {
  if (!url.startsWith('file:') || !url.endsWith('.ts')) return nextLoad(url, context);
  const sourcefile = fileURLToPath(url);
  const source = await readFile(sourcefile, 'utf8');
  const { code } = await transform(source, { sourcefile, tsconfigRaw, loader: 'ts', target: 'es2023' });
  return { format: 'module', source: code, shortCircuit: true };
}
