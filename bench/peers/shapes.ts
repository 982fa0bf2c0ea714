/** Published shapes by name: their files for each engine. */
import { lfm2ShapeNames, llamaShape } from '../../src/models/presets/presets.ts';
import { writeLfm2Gguf } from './lfm2-gguf.ts';
import { linnet } from './linnet.ts';
import { writeLlamaGguf } from './llama-gguf.ts';
import { writeLlamaOnnx } from './llama-onnx.ts';
import type { BlockFormatName } from './random-blocks.ts';

/** What writes a shape's models with random weights. */
export interface PeerShape {
  writeGguf(path: string, format: BlockFormatName): Promise<void>;
  /** @throws Error for a shape that is not written for transformers.js */
  writeOnnx(path: string): Promise<void>;
  /** An export of Linnet. @param options of `linnet synth` */
  synthesize(path: string, ...options: string[]): Promise<unknown>;
}

/** LLaMAs get the augmented mixer, hybrids keep their layers. @throws LinnetError `CONFIG` for an unknown name */
export function peerShape(name: string): PeerShape {
  const synthesize = (path: string, ...options: string[]) => linnet('synth', '--like', name, ...options, '--out', path);
  if (lfm2ShapeNames.includes(name)) {
    return {
      synthesize,
      writeGguf: (path, format) => writeLfm2Gguf(path, name, format),
      writeOnnx: () =>
        Promise.reject(new Error(`${name} is not written for transformers.js; leave it out of --subjects`)),
    };
  }
  const shape = llamaShape(name);
  return {
    synthesize: (path, ...options) => synthesize(path, '--mixer', 'augmented', ...options),
    writeGguf: (path, format) => writeLlamaGguf(path, name, shape, format),
    writeOnnx: (path) => writeLlamaOnnx(path, shape),
  };
}
