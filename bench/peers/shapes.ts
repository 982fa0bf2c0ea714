/** Published shapes by name: their files for each engine. */
import { llamaShapeNames, publishedShape } from '../../src/models/presets/presets.ts';
import { linnet } from './linnet.ts';
import { writeModelGguf } from './model-gguf.ts';
import { writeModelOnnx } from './model-onnx.ts';
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
  const shape = publishedShape(name);
  const mixer = llamaShapeNames.includes(name) ? ['--mixer', 'augmented'] : [];
  return {
    synthesize: (path, ...options) => linnet('synth', '--like', name, ...mixer, ...options, '--out', path),
    writeGguf: (path, format) => writeModelGguf(path, name, format),
    writeOnnx: (path) => writeModelOnnx(path, shape),
  };
}
