/** Published shapes by name, and their files for each engine. */
import { rename, rm, stat } from 'node:fs/promises';
import { publishedShape } from '../../src/models/presets/presets.ts';
import { linnet } from './linnet.ts';
import { writeModelGguf } from './model-gguf.ts';
import { writeModelOnnx } from './model-onnx.ts';
import type { BlockFormatName } from './random-blocks.ts';

/** Linnet exports by name: the options of `linnet synth`. */
const exports = {
  int4: ['--dtype', 'int4'],
  'int4-128': ['--dtype', 'int4', '--block', '128'],
  w8a8: ['--dtype', 'w8a8'],
  mixed: ['--dtype', 'mixed', '--block', '128'],
} as const;
export type ExportName = keyof typeof exports;
export const exportNames: readonly ExportName[] = ['int4', 'int4-128', 'w8a8', 'mixed'];

/** @throws Error unless the name is in `exportNames` */
export function exportName(name: string): ExportName {
  const known = exportNames.find((one) => one === name);
  if (known === undefined) throw new Error(`unknown dtype "${name}"; known are ${exportNames.join(', ')}`);
  return known;
}

/** Writes a shape's models with random weights. */
export interface PeerShape {
  writeGguf(path: string, format: BlockFormatName): Promise<void>;
  /** @throws Error for a shape without a transformers.js form */
  writeOnnx(path: string): Promise<void>;
  /** A Linnet export. */
  writeExport(path: string, name: ExportName): Promise<unknown>;
}

/** Writes an absent model under a temporary name, then renames it. */
export async function madeOnce(path: string, make: (path: string) => Promise<unknown>): Promise<string> {
  if (await stat(path).catch(() => undefined)) return path;
  const partial = `${path}.part`;
  console.error(`writing ${path}`);
  await rm(partial, { recursive: true, force: true });
  await make(partial);
  await rename(partial, path);
  return path;
}

/** LLaMAs get the augmented mixer; hybrids keep their layers. @throws LinnetError `CONFIG` for an unknown name */
export function peerShape(name: string): PeerShape {
  const shape = publishedShape(name);
  const mixer = ['llama', 'qwen2'].includes(String(shape.model_type)) ? 'augmented' : 'softmax';
  return {
    writeExport: (path, dtype) => linnet('synth', '--like', name, '--mixer', mixer, ...exports[dtype], '--out', path),
    writeGguf: (path, format) => writeModelGguf(path, name, format),
    writeOnnx: (path) => writeModelOnnx(path, shape),
  };
}
