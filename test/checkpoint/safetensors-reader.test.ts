import { execFileSync } from 'node:child_process';
import { readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { golden, thirdParty } from '../fixtures.ts';
import { scratchFolder } from '../scratch-folder.ts';
import { LinnetError } from '../../src/errors.ts';
import { bytesPerElement, elementCount } from '../../src/graph/tensor.ts';
import { openSafetensors } from '../../src/checkpoint/safetensors/reader.ts';
import { parseSafetensors } from '../../src/checkpoint/safetensors/directory.ts';
import { parseHeader } from '../../src/checkpoint/safetensors/header.ts';
import type { TensorEntry } from '../../src/checkpoint/safetensors/encoding.ts';
import { writeSafetensors } from '../../src/checkpoint/safetensors/writer.ts';

/** A file from a header object and data bytes, without any of the code under test. */
function handmade(header: object | string, data: Uint8Array): Uint8Array {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, data]);
}

/** Every readable type, a BF16 tensor, and a byte in front that puts all others at odd offsets. */
const mixedData = Buffer.concat([
  Buffer.from([7]),
  Buffer.from(Float64Array.of(Math.PI, -0).buffer),
  Buffer.from(Float32Array.of(1.5, Number.NaN).buffer),
  Buffer.from(Uint16Array.of(0x3c00, 0xfc00).buffer),
  Buffer.from(Uint16Array.of(0x3f80, 0xc000).buffer),
  Buffer.from(BigInt64Array.of(-(2n ** 60n)).buffer),
  Buffer.from(Int32Array.of(-5).buffer),
  Buffer.from(Int8Array.of(-3, 3).buffer),
  Buffer.from([1, 0]),
]);
const mixed = handmade(
  {
    pad: { dtype: 'U8', shape: [1], data_offsets: [0, 1] },
    f64: { dtype: 'F64', shape: [2], data_offsets: [1, 17] },
    f32: { dtype: 'F32', shape: [1, 2], data_offsets: [17, 25] },
    f16: { dtype: 'F16', shape: [2], data_offsets: [25, 29] },
    bf16: { dtype: 'BF16', shape: [2, 1], data_offsets: [29, 33] },
    i64: { dtype: 'I64', shape: [], data_offsets: [33, 41] },
    i32: { dtype: 'I32', shape: [1], data_offsets: [41, 45] },
    i8: { dtype: 'I8', shape: [2], data_offsets: [45, 47] },
    flag: { dtype: 'BOOL', shape: [2], data_offsets: [47, 49] },
  },
  mixedData,
);

describe('both readers', () => {
  it('read every type from unaligned positions', async () => {
    const path = join(await scratchFolder(), 'mixed.safetensors');
    await writeFile(path, mixed);
    const file = await openSafetensors(path);
    onTestFinished(() => file.close());
    const memory = parseSafetensors(mixed);
    const expected = {
      pad: { dtype: 'uint8', shape: [1], data: Uint8Array.of(7) },
      f64: { dtype: 'float64', shape: [2], data: Float64Array.of(Math.PI, -0) },
      f32: { dtype: 'float32', shape: [1, 2], data: Float32Array.of(1.5, Number.NaN) },
      f16: { dtype: 'float16', shape: [2], data: Uint16Array.of(0x3c00, 0xfc00) },
      i64: { dtype: 'int64', shape: [], data: BigInt64Array.of(-(2n ** 60n)) },
      i32: { dtype: 'int32', shape: [1], data: Int32Array.of(-5) },
      i8: { dtype: 'int8', shape: [2], data: Int8Array.of(-3, 3) },
      flag: { dtype: 'bool', shape: [2], data: Uint8Array.of(1, 0) },
    };
    for (const [name, value] of Object.entries(expected)) {
      expect(memory.read(name), name).toEqual(value);
      expect(await file.read(name), name).toEqual(value);
      for await (const { buffer, byteLength } of file.chunks(name)) {
        expect(buffer.byteLength, 'memory for small tensors').toBe(byteLength);
      }
    }
    const widened = {
      f64: Float32Array.of(Math.fround(Math.PI), -0),
      f32: Float32Array.of(1.5, Number.NaN),
      f16: Float32Array.of(1, Number.NEGATIVE_INFINITY),
      bf16: Float32Array.of(1, -2),
    };
    for (const [name, data] of Object.entries(widened)) {
      expect(memory.readFloat32(name).data, name).toEqual(data);
      expect((await file.readFloat32(name)).data, name).toEqual(data);
    }
    expect(memory.readFloat32('bf16').shape).toEqual([2, 1]);
    expect(memory.info('bf16')).toEqual({ dtype: 'BF16', shape: [2, 1], byteLength: 4 });
    expect(file.names()).toEqual(memory.names());
  });

  it('say what to do about types that cannot be read, unknown names, bad booleans and closed files', async () => {
    const memory = parseSafetensors(mixed);
    expect(() => memory.read('bf16')).toThrow(/"bf16" is BF16; read it as float32/);
    expect(() => memory.readFloat32('i32')).toThrow(/"i32" is I32, expected F32/);
    expect(() => memory.read('nothing')).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }));
    expect(() => memory.info('toString')).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }));
    const flags = handmade({ f: { dtype: 'BOOL', shape: [2], data_offsets: [0, 2] } }, Uint8Array.of(1, 2));
    expect(() => parseSafetensors(flags, 'flags').read('f')).toThrow(/flags: tensor "f": .*element 1 is 2/);
    const exotic = handmade({ f: { dtype: 'F8_E4M3', shape: [2], data_offsets: [0, 2] } }, Uint8Array.of(1, 2));
    expect(() => parseSafetensors(exotic).read('f')).toThrow(/not supported/);

    const path = join(await scratchFolder(), 'mixed.safetensors');
    await writeFile(path, mixed);
    const file = await openSafetensors(path);
    await file.close();
    await file.close();
    await expect(file.read('f32')).rejects.toThrow(/already closed/);
  });

  it('gives tensors that do not share memory with the file bytes', () => {
    const bytes = Buffer.from(mixed);
    const memory = parseSafetensors(bytes);
    const before = memory.read('i32');
    bytes.fill(0, bytes.length - mixedData.length);
    expect(before.data).toEqual(Int32Array.of(-5));
  });

  it('notice a file that shrinks after it was opened', async () => {
    const path = join(await scratchFolder(), 'shrinking.safetensors');
    await writeFile(path, mixed);
    const file = await openSafetensors(path);
    onTestFinished(() => file.close());
    await truncate(path, mixed.length - 3);
    await expect(file.read('flag')).rejects.toThrow(/changed while being read/);
  });

  it('refuse folders and pipes without waiting', async () => {
    const folder = await scratchFolder();
    await expect(openSafetensors(folder)).rejects.toThrow(expect.objectContaining({ code: 'PATH' }));
    await expect(openSafetensors(join(folder, 'none'))).rejects.toThrow(expect.objectContaining({ code: 'NOT_FOUND' }));
    if (process.platform !== 'win32') {
      execFileSync('mkfifo', [join(folder, 'pipe')]);
      await expect(openSafetensors(join(folder, 'pipe'))).rejects.toThrow(/not a regular file/);
    }
  });
});

describe('files of other writers', () => {
  it('reads every golden file the same from disk and memory', async () => {
    const cases = await readdir(golden('.'));
    let files = 0;
    for (const name of cases) {
      for (const file of (await readdir(golden(name))).filter((entry) => entry.endsWith('.safetensors'))) {
        const path = join(golden(name), file);
        const memory = parseSafetensors(await readFile(path));
        const disk = await openSafetensors(path);
        for (const tensorName of memory.names()) {
          const fromMemory = memory.read(tensorName);
          expect(await disk.read(tensorName)).toEqual(fromMemory);
          expect(fromMemory.data.byteLength).toBe(elementCount(fromMemory.shape) * bytesPerElement[fromMemory.dtype]);
        }
        await disk.close();
        files += 1;
      }
    }
    expect(files).toBeGreaterThanOrEqual(cases.length);
    const parents = parseSafetensors(await readFile(join(golden('tree_chain5'), 'io.safetensors'))).read('parents');
    expect([...parents.data].map(Number)).toEqual([-1, 0, 1, 2, 3]);
  });

  const model = thirdParty('stories260k/model.safetensors');
  it.skipIf(model === undefined)(
    'reads the stories260k checkpoint (skipped: third-party fixtures are absent)',
    async () => {
      const file = await openSafetensors(model ?? '');
      onTestFinished(() => file.close());
      const { shape, data } = await file.readFloat32('model.embed_tokens.weight');
      expect(shape).toEqual([512, 64]);
      expect(data.every(Number.isFinite)).toBe(true);
    },
  );
});

describe('writeSafetensors', () => {
  it('gives back what was written, for generated tensors of every writable type', async () => {
    const folder = await scratchFolder();
    const shape = fc.array(fc.nat(4), { maxLength: 3 });
    const writable = fc.constantFrom('F64', 'F32', 'F16', 'I64', 'I32', 'I8', 'U8', 'BOOL' as const);
    const make: Record<string, (n: number) => TensorEntry['data']> = {
      F64: (n) => Float64Array.from({ length: n }, (_, i) => i / 3),
      F32: (n) => Float32Array.from({ length: n }, (_, i) => -i / 7),
      F16: (n) => Uint16Array.from({ length: n }, (_, i) => 0x3c00 + i),
      I64: (n) => () => BigInt64Array.from({ length: n }, (_, i) => BigInt(i) - 3n),
      I32: (n) => async () => Int32Array.from({ length: n }, (_, i) => i * -1000),
      I8: (n) => Int8Array.from({ length: n }, (_, i) => i - 8),
      U8: (n) => Uint8Array.from({ length: n }, (_, i) => i * 3),
      BOOL: (n) => Uint8Array.from({ length: n }, (_, i) => i % 2),
    };
    const name = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 12 })
      .filter((text) => !/^(__\w+__|constructor|prototype)$/.test(text));
    const list = fc.uniqueArray(fc.record({ name, shape, dtype: writable }), {
      selector: ({ name: key }) => key,
      maxLength: 6,
    });
    await fc.assert(
      fc.asyncProperty(
        list,
        fc.dictionary(fc.string(), fc.string(), { maxKeys: 2 }),
        async (descriptions, metadata) => {
          const entries = descriptions.map(
            (each): TensorEntry => ({ ...each, data: make[each.dtype](elementCount(each.shape)) }),
          );
          const path = join(folder, 'generated.safetensors');
          await writeSafetensors(path, entries, metadata);
          const back = parseSafetensors(await readFile(path));
          expect(back.names().sort()).toEqual(entries.map((each) => each.name).sort());
          expect(new Map(back.metadata)).toEqual(new Map(Object.entries(metadata)));
          for (const each of entries) {
            const data = typeof each.data === 'function' ? await each.data() : each.data;
            expect(back.read(each.name)).toMatchObject({ shape: each.shape, data });
          }
        },
      ),
      { seed: 5, numRuns: 60 },
    );
  });

  it('aligns every tensor, rounds floats, and pads the header', async () => {
    const path = join(await scratchFolder(), 'aligned.safetensors');
    await writeSafetensors(path, [
      { name: 'byte', dtype: 'U8', shape: [3], data: Uint8Array.of(1, 2, 3) },
      { name: 'half', dtype: 'F16', shape: [1], data: Float32Array.of(1 / 3) },
      { name: 'brain', dtype: 'BF16', shape: [1], data: Float32Array.of(1 / 3) },
      { name: 'double', dtype: 'F64', shape: [1], data: Float64Array.of(1 / 3) },
    ]);
    const bytes = await readFile(path);
    const length = Number(bytes.readBigUInt64LE());
    expect(length % 8).toBe(0);
    const { tensors } = parseHeader(bytes.subarray(8, 8 + length), bytes.length - 8 - length, path);
    expect(Object.fromEntries([...tensors].map(([name, { begin }]) => [name, begin]))).toEqual({
      double: 0,
      half: 8,
      brain: 10,
      byte: 12,
    });
    const back = parseSafetensors(bytes);
    expect(back.read('half').data).toEqual(Uint16Array.of(0x3555));
    expect(back.readFloat32('brain').data).toEqual(new Float32Array(Uint32Array.of(0x3eab0000).buffer));
  });

  it('asks for the data of one tensor at a time and takes entries from an async source', async () => {
    const path = join(await scratchFolder(), 'streamed.safetensors');
    let alive = 0;
    let most = 0;
    async function* entries(): AsyncGenerator<TensorEntry> {
      for (let i = 0; i < 5; i++) {
        const data = async (): Promise<Float32Array> => {
          alive += 1;
          most = Math.max(most, alive);
          await new Promise((done) => setTimeout(done, 1));
          alive -= 1;
          return new Float32Array(4).fill(i);
        };
        yield { name: `t${i}`, dtype: 'F32', shape: [2, 2], data };
      }
    }
    await writeSafetensors(path, entries());
    expect(most).toBe(1);
    expect(parseSafetensors(await readFile(path)).read('t3').data).toEqual(new Float32Array(4).fill(3));
  });

  it.each<[string, TensorEntry[], string, RegExp]>([
    [
      'too few elements',
      [{ name: 'w', dtype: 'F32', shape: [3], data: new Float32Array(2) }],
      'SHAPE',
      /3 elements, 2 were given/,
    ],
    [
      'an array of another type',
      [{ name: 'w', dtype: 'F32', shape: [2], data: new Int32Array(2) }],
      'SHAPE',
      /Int32Array/,
    ],
    [
      'a type nobody can make',
      [{ name: 'w', dtype: 'F8_E4M3', shape: [2], data: new Uint8Array(2) }],
      'FORMAT',
      /not supported/,
    ],
    [
      'two tensors of one name',
      ['w', 'w'].map((name) => ({ name, dtype: 'U8', shape: [0], data: new Uint8Array() })),
      'FORMAT',
      /two tensors/,
    ],
    [
      'a name nobody may use',
      [{ name: '__metadata__', dtype: 'U8', shape: [0], data: new Uint8Array() }],
      'FORMAT',
      /not allowed/,
    ],
    ['an impossible shape', [{ name: 'w', dtype: 'U8', shape: [-1], data: new Uint8Array() }], 'FORMAT', /-1/],
  ])('refuses %s and leaves the old file alone', async (_, entries, code, message) => {
    const folder = await scratchFolder();
    const path = join(folder, 'old.safetensors');
    await writeFile(path, mixed);
    const writing = writeSafetensors(path, entries);
    await expect(writing).rejects.toThrow(message);
    await expect(writing).rejects.toThrow(expect.objectContaining({ code }));
    expect(await readdir(folder)).toEqual(['old.safetensors']);
    expect(new Uint8Array(await readFile(path))).toEqual(new Uint8Array(mixed));
  });

  it('passes on what a source throws and leaves nothing half-written', async () => {
    const folder = await scratchFolder();
    const failing = (): Float32Array => {
      throw new RangeError('no such layer');
    };
    const entries: TensorEntry[] = [
      { name: 'a', dtype: 'F32', shape: [2], data: new Float32Array(2) },
      { name: 'b', dtype: 'F32', shape: [2], data: failing },
    ];
    await expect(writeSafetensors(join(folder, 'x.safetensors'), entries)).rejects.toThrow('no such layer');
    expect(await readdir(folder)).toEqual([]);
  });
});

describe('fuzz', () => {
  /** Either a LinnetError, or every tensor can be read, is no larger than the file, and all lie inside it. */
  function mustBeSafe(bytes: Uint8Array): void {
    try {
      const file = parseSafetensors(bytes);
      let total = 0;
      for (const name of file.names()) {
        const { byteLength } = file.info(name);
        total += byteLength;
        try {
          expect(file.read(name).data.byteLength).toBe(byteLength);
        } catch (error) {
          if (!(error instanceof LinnetError)) throw error;
        }
      }
      expect(total).toBeLessThanOrEqual(bytes.length);
    } catch (error) {
      if (!(error instanceof LinnetError)) throw error;
      expect(error.code).toBe('FORMAT');
    }
  }

  it('any bytes are safe', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), mustBeSafe), { seed: 1, numRuns: 5000 });
  });

  it('any JSON-looking header is safe', () => {
    const text = fc.string({
      unit: fc.oneof(
        fc.constantFrom('{', '}', '[', ']', '"', ':', ',', '\\', ' ', '-', '.', 'e', '0', '1', '8'),
        fc.constantFrom('"w":{', '"dtype":"F32"', '"dtype":"U8"', '"shape":[', '"data_offsets":[', '"__metadata__":{'),
      ),
      maxLength: 40,
    });
    fc.assert(
      fc.property(text, fc.uint8Array({ maxLength: 16 }), (json, data) => mustBeSafe(handmade(`{${json}`, data))),
      { seed: 2, numRuns: 5000 },
    );
  });

  it('any mutation of a valid file is safe', () => {
    const headerEnd = mixed.length - mixedData.length;
    const edit = fc.record({
      at: fc.oneof({ weight: 4, arbitrary: fc.nat(headerEnd) }, { weight: 1, arbitrary: fc.nat(mixed.length) }),
      remove: fc.nat(3),
      insert: fc.oneof(
        fc.uint8Array({ maxLength: 3 }),
        fc.stringMatching(/^[0-9\]["{},]{0,3}$/).map((digits) => Buffer.from(digits)),
      ),
    });
    const mutated = fc.tuple(fc.array(edit, { minLength: 1, maxLength: 3 }), fc.boolean()).map(([edits, fixLength]) => {
      let bytes = Buffer.from(mixed);
      for (const { at, remove, insert } of edits) {
        bytes = Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + remove)]);
      }
      // Half of them keep a consistent length field, so that the mutation reaches the JSON checks.
      if (fixLength && bytes.length > mixedData.length + 8)
        bytes.writeBigUInt64LE(BigInt(bytes.length - mixedData.length - 8));
      return bytes;
    });
    fc.assert(fc.property(mutated, mustBeSafe), { seed: 4, numRuns: 10000 });
  });
});
