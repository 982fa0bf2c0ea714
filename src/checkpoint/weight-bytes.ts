/** Total size of a model's weight files: a checkpoint's, a GGUF file's or an export's. */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ggufPath } from './gguf/files.ts';

/** @returns 0 for unreadable files; opening the model reports those better */
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
