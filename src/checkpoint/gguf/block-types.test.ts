/** Blocks of every format against values that loops over the layouts made, bit by bit. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { golden } from '../../../test/fixtures.ts';
import { dataOf } from '../../graph/tensor.ts';
import { parseSafetensors } from '../safetensors/directory.ts';
import { blockType, blockTypeNames } from './block-types.ts';

const decoded = parseSafetensors(readFileSync(join(golden('gguf'), 'decoded.safetensors')));
const types = Array.from({ length: 64 }, (_, id) => blockType(id)).filter((type) => type !== undefined);

describe('blocks', () => {
  it('are those of all formats of the table', () => {
    const stored = new Set(decoded.names().map((name) => name.split('.')[0]));
    expect(types.map(({ name }) => name)).toEqual(blockTypeNames());
    expect([...stored].filter((name) => !blockTypeNames().includes(name))).toEqual([]);
  });

  it.each(types.filter(({ name }) => decoded.names().includes(`${name}.bytes`)))('of $name have the values', (type) => {
    for (const part of ['', '.any']) {
      const name = `${type.name}${part}`;
      if (!decoded.names().includes(`${name}.bytes`)) continue;
      const bytes = dataOf(decoded.read(`${name}.bytes`), 'uint8');
      const values = dataOf(decoded.read(`${name}.values`), 'float32');
      const made = new Float32Array(values.length);
      type.decode(bytes, made);
      const bits = (of: Float32Array): Uint32Array => new Uint32Array(of.buffer, of.byteOffset, of.length);
      expect(Buffer.compare(Buffer.from(bits(made).buffer), Buffer.from(bits(values.slice()).buffer)), name).toBe(0);
      expect((bytes.length / type.bytes) * type.values).toBe(values.length);
    }
  });
});
