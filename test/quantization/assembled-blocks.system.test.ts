import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { blockSizes } from '../../src/graph/ops/quantized.ts';
import { assembledBlocks } from '../../src/quantization/assembled-blocks.ts';
import { encodeBlocks, type EncodeBlocks } from '../../src/quantization/block-codes.ts';
import { Random } from '../../src/random.ts';
import { scratchFolder } from '../scratch-folder.ts';

const assembler = createRequire(import.meta.url)
  .resolve.paths('wabt')
  ?.some((path) => existsSync(join(path, 'wabt')));

it.skipIf(assembler !== true)('WebAssembly gives the bits of JavaScript (needs wabt)', async () => {
  const file = join(await scratchFolder(), 'block-codes.wasm');
  execFileSync(process.execPath, ['scripts/assemble.mjs', file]);
  const assembled = assembledBlocks(await readFile(file));
  const run = (encode: EncodeBlocks, weights: Float32Array, size: 32 | 64 | 128) => {
    const codes = new Uint8Array(weights.length / 2);
    const scales = new Float32Array(weights.length / size);
    const errors = { peak: 0, worst: 0, squares: 0, squaredErrors: 0 };
    encode(weights, size, codes, scales, errors);
    encode(weights.toReversed(), size, codes, scales, errors);
    return { codes, scales, errors };
  };
  const exponent = fc.integer({ min: -150, max: 30 }); // 2⁻¹⁵⁰ is zero, and blocks of numbers below 2⁻¹²³ are zeros
  const kinds = {
    size: fc.constantFrom(...blockSizes),
    seed: fc.nat(1e6),
    exponent,
    blocks: fc.constantFrom(1, 3, 700),
  };
  fc.assert(
    fc.property(fc.record(kinds), ({ size, seed, exponent, blocks }) => {
      const random = new Random(seed);
      // Coarse numbers: ties of peaks, of errors and of codes, and zeros.
      const weights = Float32Array.from({ length: size * blocks }, (_, i) =>
        i % 640 < 128 ? random.normal() * 2 ** exponent : (random.integer(17) - 8) * 2 ** exponent,
      );
      expect(run(assembled, weights, size)).toEqual(run(encodeBlocks, weights, size));
    }),
    { seed: 7, numRuns: 60 },
  );
  for (const small of [0, 2 ** -149, 2 ** -124]) {
    const { codes, scales } = run(encodeBlocks, new Float32Array(64).fill(-small), 32);
    expect([...new Set(codes), ...new Set(scales)]).toEqual([0x88, 0]);
    expect(run(assembled, new Float32Array(64).fill(-small), 32).scales).toEqual(scales);
  }
  const large = Float32Array.from({ length: 1 << 17 }, (_, i) => Math.sin(i) / 7); // more than is encoded together
  expect(run(assembled, large, 32)).toEqual(run(encodeBlocks, large, 32));
  for (const odd of [Number.NaN, Number.NEGATIVE_INFINITY]) {
    const { errors } = run(assembled, new Float32Array(32).fill(1).with(9, odd), 32);
    expect(Number.isFinite(errors.squares + errors.squaredErrors)).toBe(false);
  }
});
