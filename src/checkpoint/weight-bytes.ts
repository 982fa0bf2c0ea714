/** Bytes of the files of weights of a model: of a checkpoint, a GGUF file or an export. */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ggufPath } from './gguf/files.ts';

/** @returns 0 for files that cannot be read, which opening the model says better */
export async function weightBytes(path: string): Promise<number> {
  const packed = await ggufPath(path).catch(() => undefined);
  const folder = packed === undefined ? path : dirname(packed);
  const names = await readdir(folder).catch(() => []);
  const sizes = names
    .filter((name) =>
      packed === undefined
        ? /\.(safetensors|onnx|data)$/.test(name)
        : name.replace(/-\d{5}-of-/, '-00001-of-') === basename(packed),
    )
    .map((name) =>
      stat(join(folder, name)).then(
        ({ size }) => size,
        () => 0,
      ),
    );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
