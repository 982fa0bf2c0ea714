/** Published shapes by name: their files for each engine. */
import { rename, rm, stat } from 'node:fs/promises';
import { publishedShape } from '../../src/models/presets/presets.ts';
import { linnet } from './linnet.ts';
import { writeModelGguf } from './model-gguf.ts';
import { writeModelOnnx } from './model-onnx.ts';
import type { BlockFormatName } from './random-blocks.ts';

/** Exports of Linnet by name: the options of `linnet synth`. */
const exports = {
  int4: ['--dtype', 'int4'],
  'int4-128': ['--dtype', 'int4', '--block', '128'],
  w8a8: ['--dtype', 'w8a8'],
  mixed: ['--dtype', 'mixed', '--block', '128'],
} as const;
export type ExportName = keyof typeof exports;
export const exportNames: readonly ExportName[] = ['int4', 'int4-128', 'w8a8', 'mixed'];

/** @throws Error for a name that is not one of `exportNames` */
export function exportName(name: string): ExportName {
  const known = exportNames.find((one) => one === name);
  if (known === undefined) throw new Error(`unknown dtype "${name}"; known are ${exportNames.join(', ')}`);
  return known;
}

/** What writes a shape's models with random weights. */
export interface PeerShape {
  writeGguf(path: string, format: BlockFormatName): Promise<void>;
  /** @throws Error for a shape that is not written for transformers.js */
  writeOnnx(path: string): Promise<void>;
  /** An export of Linnet. */
  writeExport(path: string, name: ExportName): Promise<unknown>;
}

/** Writes a model where there is none, under another name until it is whole. */
export async function madeOnce(path: string, make: (path: string) => Promise<unknown>): Promise<string> {
  if (await stat(path).catch(() => undefined)) return path;
  const partial = `${path}.part`;
  console.error(`writing ${path}`);
  await rm(partial, { recursive: true, force: true });
  await make(partial);
  await rename(partial, path);
  return path;
}

/** LLaMAs get the augmented mixer, hybrids keep their layers. @throws LinnetError `CONFIG` for an unknown name */
export function peerShape(name: string): PeerShape {
  const shape = publishedShape(name);
  const mixer = ['llama', 'qwen2'].includes(String(shape.model_type)) ? 'augmented' : 'softmax';
  return {
    writeExport: (path, dtype) => linnet('synth', '--like', name, '--mixer', mixer, ...exports[dtype], '--out', path),
    writeGguf: (path, format) => writeModelGguf(path, name, format),
    writeOnnx: (path) => writeModelOnnx(path, shape),
  };
}
