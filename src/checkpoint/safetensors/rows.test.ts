/** Tensors of a safetensors file as float32, in pieces of whole rows. */
import { readFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { scratchFolder } from '../../../test/scratch-folder.ts';
import { elementCount } from '../../graph/tensor.ts';
import { parseSafetensors } from './directory.ts';
import { openSafetensors } from './reader.ts';
import { writeSafetensors } from './writer.ts';

/** `toEqual` takes seconds for millions of numbers. */
function sameNumbers(a: Float32Array, b: Float32Array): boolean {
  const bytes = ({ buffer, byteOffset, byteLength }: Float32Array) => Buffer.from(buffer, byteOffset, byteLength);
  return bytes(a).equals(bytes(b));
}

describe('rows in float32', () => {
  it('come in pieces of whole rows that together are the whole', async () => {
    const path = join(await scratchFolder(), 'rows.safetensors');
    // More than a piece of each type, in rows that no piece is a multiple of; and what is smaller than a piece.
    const shapes = { wide: [1201, 2003], tall: [600_011, 3], vector: [77], scalar: [], none: [0, 5] };
    const dtypes = ['F32', 'F16', 'BF16'] as const;
    const entries = Object.entries(shapes).flatMap(([name, shape]) => {
      const data = new Float32Array(elementCount(shape));
      for (let i = 0; i < data.length; i++) data[i] = (i % 1999) - 999.5;
      return dtypes.map((dtype) => ({ name: `${name} ${dtype}`, dtype, shape, data }));
    });
    await writeSafetensors(path, entries);
    const file = await openSafetensors(path);
    onTestFinished(() => file.close());
    const bytes = parseSafetensors(await readFile(path));
    for (const { name, shape } of entries) {
      const whole = bytes.readFloat32(name);
      expect(sameNumbers((await file.readFloat32(name)).data, whole.data), name).toBe(true);
      const rows = file.float32Rows(name);
      expect(rows.shape, name).toEqual(shape);
      let done = 0;
      for await (const piece of rows.pieces) {
        expect(piece.length % (shape.at(-1) ?? 1), name).toBe(0);
        expect(sameNumbers(piece, whole.data.subarray(done, done + piece.length)), name).toBe(true);
        done += piece.length;
      }
      expect(done, name).toBe(whole.data.length);
    }
  });

  it('leave nothing behind where pieces are not all asked for, and fail where the file ends early', async () => {
    const path = join(await scratchFolder(), 'rows.safetensors');
    const shape = [3000, 1000];
    await writeSafetensors(path, [{ name: 'w', dtype: 'F16', shape, data: new Uint16Array(3_000_000) }]);
    const file = await openSafetensors(path);
    onTestFinished(() => file.close());
    await truncate(path, 5_000_000); // in the second piece
    for await (const piece of file.float32Rows('w').pieces) {
      expect(piece.length).toBe(2097 * 1000);
      break;
    }
    const all = async (): Promise<void> => {
      for await (const piece of file.float32Rows('w').pieces) expect(piece.length).toBe(2097 * 1000);
    };
    await expect(all()).rejects.toThrow(/the file ended at byte 5000000/);
    await file.close();
    await expect(all()).rejects.toThrow(/already closed/);
    expect(() => file.float32Rows('v')).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }));
  });
});
