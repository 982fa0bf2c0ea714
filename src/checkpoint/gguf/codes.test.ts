/** Codes of every format stand for the values that its blocks have. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { golden } from '../../../test/fixtures.ts';
import { dataOf } from '../../graph/tensor.ts';
import { parseSafetensors } from '../safetensors/directory.ts';
import type { CodedMatrix, CodedParts } from '../weight-file.ts';
import { blockType } from './block-types.ts';
import { codedMatrix } from './codes.ts';
import type { TensorRecipe } from './recipes.ts';

const decoded = parseSafetensors(readFileSync(join(golden('gguf'), 'decoded.safetensors')));
const [rows, columns] = [4, 512];
const plain = new Set(['F32', 'F16', 'BF16']);
const types = Array.from({ length: 64 }, (_, id) => blockType(id)).filter((type) => type !== undefined);

function recipeOf(type: (typeof types)[number], changes: Partial<TensorRecipe> = {}): TensorRecipe {
  const bytes = new Uint8Array(dataOf(decoded.read(`${type.name}.bytes`), 'uint8'));
  const read = async (offset: number, length: number, room = new Uint8Array(length)) => {
    room.set(bytes.subarray(offset, offset + length));
    return room;
  };
  const source = { name: 'w', size: bytes.length, read };
  const listed = { name: 'w', source, type, shape: [rows, columns], offset: 0, byteLength: bytes.length };
  return { name: 'w', shape: [rows, columns], sources: [listed], ...changes };
}

async function partsOf(recipe: TensorRecipe): Promise<[CodedMatrix, CodedParts]> {
  const matrix = codedMatrix(recipe);
  if (matrix === undefined) throw new Error('no codes');
  for await (const parts of matrix.pieces(rows)) return [matrix, parts];
  throw new Error('no rows');
}

/** Weights by their codes, [by minima or the middle, by zero points and the rest]. */
function weights({ form, inputs }: CodedMatrix, parts: CodedParts, r: number, c: number): [number, number] {
  const { bits, size } = form;
  const [perRow, b] = [inputs / size, Math.floor(c / size)];
  const at = r * inputs + c;
  const code = bits === 8 ? parts.codes[at] : (parts.codes[at >> 1] >> (4 * (at & 1))) & 15;
  const block = r * perRow + b;
  const scale = parts.scales[block];
  if (parts.minima === undefined || parts.zeros === undefined || parts.rest === undefined) {
    const weight = Math.fround((code - 2 ** (bits - 1)) * scale);
    return [weight, weight];
  }
  const rowBytes = Math.ceil((perRow * bits) / 8);
  const packed = parts.zeros[r * rowBytes + (bits === 8 ? b : b >> 1)];
  const zero = bits === 8 ? packed : (packed >> (4 * (b & 1))) & 15;
  return [Math.fround(code * scale - parts.minima[block]), (code - zero) * scale + parts.rest[block] / size];
}

describe.each(types.filter(({ name }) => !plain.has(name)))('codes of $name', (type) => {
  const values = dataOf(decoded.read(`${type.name}.values`), 'float32');

  it('stand for its values', async () => {
    const [matrix, parts] = await partsOf(recipeOf(type));
    for (let i = 0; i < rows * columns; i++) {
      const [exact, byZero] = weights(matrix, parts, Math.floor(i / columns), i % columns);
      expect(exact === values[i], `${i}: ${exact} for ${values[i]}`).toBe(true);
      expect(Math.abs(byZero - values[i])).toBeLessThanOrEqual(1e-6 * Math.abs(values[i]) + 1e-7);
    }
  });

  it('are the same in pieces of some rows', async () => {
    const matrix = codedMatrix(recipeOf(type));
    const [, whole] = await partsOf(recipeOf(type));
    const codes: number[] = [];
    const rest: number[] = [];
    for await (const piece of matrix?.pieces(3) ?? []) {
      codes.push(...piece.codes);
      rest.push(...(piece.rest ?? []));
    }
    expect(codes).toEqual([...whole.codes]);
    expect(rest).toEqual([...(whole.rest ?? [])]);
  });

  it('take the order of rows and of columns', async () => {
    const unit = 64;
    const turned = { row: (r: number) => rows - 1 - r, column: { unit, of: (c: number) => (c + unit) % columns } };
    const [matrix, parts] = await partsOf(recipeOf(type, turned));
    for (let i = 0; i < rows * columns; i++) {
      const [r, c] = [Math.floor(i / columns), i % columns];
      const from = turned.row(r) * columns + turned.column.of(c - (c % unit)) + (c % unit);
      expect(weights(matrix, parts, r, c)[0] === values[from]).toBe(true);
    }
    expect(codedMatrix(recipeOf(type, { column: { unit: 8, of: (c) => c } }))).toBe(undefined);
  });
});
