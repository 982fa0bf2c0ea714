import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openSafetensors } from '../checkpoint/safetensors/reader.ts';
import { writeSafetensors } from '../checkpoint/safetensors/writer.ts';
import { Random } from '../random.ts';
import { scratchFolder } from '../../test/scratch-folder.ts';
import { encodeMatrix, type Encoding, matrixEncoder, type WeightError, weightError } from './encoding.ts';
import { EncodingThreads } from './encoding-threads.ts';
import { matrixParts, type WeightReader } from './weight-reader.ts';

const [outputs, inputs] = [13, 96];
const matrix = { name: 'w', outputs, inputs, layout: 'outputs-first' } as const;
const random = new Random(3);
const numbers = Float32Array.from({ length: outputs * inputs }, () => Math.round(random.normal() * 256) / 256); // exact halves
const threads = new EncodingThreads(2, 4 * inputs);
afterAll(() => threads[Symbol.asyncDispose]());

async function fileOf(dtype: 'F16' | 'F32' | 'BF16', data = numbers) {
  const path = join(await scratchFolder(), 'w.safetensors');
  await writeSafetensors(path, [{ name: 'w', dtype, shape: [outputs, inputs], data }]);
  return await openSafetensors(path);
}

describe('threads encode a matrix of a file', () => {
  it.each<[Encoding, readonly number[]]>([
    [{ kind: 'blocks', size: 32 }, [outputs, 3, 16]],
    [{ kind: 'bytes', layout: 'inputs-first' }, [inputs, outputs]],
    [{ kind: 'bytes', layout: 'outputs-first' }, [outputs, inputs]],
  ])('as %o, to the codes of one thread', async (encoding, shape) => {
    for (const dtype of ['F16', 'F32'] as const) {
      await using file = await fileOf(dtype);
      const errors: WeightError[] = [];
      const reader: WeightReader = { read: () => file.readFloat32('w'), place: () => file.place('w') };
      const part = matrixParts(reader, () => encoding, { threads, onError: (_, error) => errors.push(error) });
      const dtypeOfCodes = encoding.kind === 'blocks' ? 'uint8' : 'int8';
      const codes = await part([matrix], 'codes', dtypeOfCodes, (n) =>
        shape.map((size) => (size === outputs ? n : size)),
      ).load();
      const here = encodeMatrix(matrixEncoder(matrix, encoding), { ...matrix, data: numbers });
      expect(codes).toEqual(here.parts.codes);
      const { max, rms } = weightError('w', [here]);
      expect(errors.map((error) => error.max)).toEqual([max]);
      expect(errors[0].rms).toBeCloseTo(rms, 12);
    }
  });

  it('and refuse numbers that are not finite', async () => {
    await using file = await fileOf('F32', numbers.with(700, Number.NaN));
    const reader: WeightReader = { read: () => file.readFloat32('w'), place: () => file.place('w') };
    const part = matrixParts(reader, () => ({ kind: 'blocks', size: 32 }), { threads });
    const codes = part([matrix], 'codes', 'uint8', (n) => [n, 3, 16]);
    await expect(codes.load()).rejects.toMatchObject({ code: 'TENSOR' });
  });

  it('and a file that has changed', async () => {
    await using file = await fileOf('BF16');
    const place = file.place('w');
    if (place === undefined) throw new Error('a matrix without a place');
    await appendFile(join(place.folder, place.file), 'more');
    await expect(threads.encode(matrix, { kind: 'halves' }, place)).rejects.toMatchObject({ code: 'MISMATCH' });
  });
});
