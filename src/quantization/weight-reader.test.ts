/** Matrices that are stored as one: their parts lie side by side along the axis of the outputs. */
import { describe, expect, it } from 'vitest';
import type { StoredParameter } from '../checkpoint/stored-parameter.ts';
import { float32 } from '../graph/tensor.ts';
import type { MatrixShape, WeightError } from './encoding.ts';
import { joinedName, matrixParts, readerOf } from './weight-reader.ts';

const matrices: MatrixShape[] = [2, 2, 1].map((outputs, i) => ({
  name: `layer.${'qkv'[i]}_proj.weight`,
  outputs,
  inputs: 3,
  layout: 'outputs-first',
}));
const numbers = matrices.map(({ name, outputs, inputs }, i) => {
  const values = Array.from({ length: outputs * inputs }, (_, k) => Math.sin(7 * i + k));
  return [name, float32([outputs, inputs], values)] as const;
});

describe('a store of matrices', () => {
  const errors: (readonly [string, WeightError])[] = [];
  const partOf = matrixParts(readerOf(new Map(numbers)), () => ({ kind: 'bytes', layout: 'inputs-first' }), {
    onError: (...error) => errors.push(error),
  });
  const codesOf = (some: readonly MatrixShape[]) => partOf(some, 'codes', 'int8', (outputs) => [3, outputs]);
  const scalesOf = (some: readonly MatrixShape[]) => partOf(some, 'scales', 'float32', (outputs) => [outputs]);

  it('joins parts along their outputs, columns too, and encodes every matrix once', async () => {
    const codes = codesOf(matrices);
    expect(codes.shape).toEqual([3, 5]);
    const joined = [...(await codes.load()).data];
    const scales = [...(await scalesOf(matrices).load()).data];
    expect(errors.map(([name]) => name)).toEqual(matrices.map(({ name }) => name));
    const alone = await Promise.all(matrices.map(async (matrix) => [...(await codesOf([matrix]).load()).data]));
    const rows = [0, 1, 2].map((row) =>
      alone.flatMap((part, i) => part.slice(row * matrices[i].outputs, (row + 1) * matrices[i].outputs)),
    );
    expect(joined).toEqual(rows.flat());
    const scalesAlone = await Promise.all(matrices.map(async (matrix) => [...(await scalesOf([matrix]).load()).data]));
    expect(scales).toEqual(scalesAlone.flat());
  });

  it('reads matrices that are in files in pieces, never whole', async () => {
    const stored = new Map(
      numbers.map(([name, { shape, data }]): [string, StoredParameter] => {
        const load = (): Promise<never> => Promise.reject(new Error(`${name} was read whole`));
        const rows = async function* () {
          for (let at = 0; at < data.length; at += 3) yield data.slice(at, at + 3);
        };
        return [name, { dtype: 'float32', shape, load, isHalf: false, pieces: rows, rows }];
      }),
    );
    const inPieces = matrixParts(readerOf(stored), () => ({ kind: 'bytes', layout: 'inputs-first' }));
    const codes = inPieces(matrices, 'codes', 'int8', (outputs) => [3, outputs]);
    expect((await codes.load()).data).toEqual((await codesOf(matrices).load()).data);
  });

  it('names them once each', () => {
    expect(joinedName(matrices)).toBe('layer.q_proj.weight+k_proj.weight+v_proj.weight');
    expect(joinedName(matrices.slice(0, 1))).toBe('layer.q_proj.weight');
  });
});
