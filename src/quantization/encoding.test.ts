import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BlockSize, blockSizes } from '../graph/ops/quantized.ts';
import { dataOf } from '../graph/tensor.ts';
import { Random } from '../random.ts';
import { type DenseMatrix, encodeBlocks, encodeBytes, encodeHalves, type EncodedMatrix } from './encoding.ts';

function matrixOf(outputs: number, inputs: number, data: Float32Array, layout: DenseMatrix['layout']): DenseMatrix {
  return { name: 'w', outputs, inputs, layout, data };
}

/** The weight that stands at (output, input). */
function weightAt({ layout, inputs, outputs, data }: DenseMatrix, output: number, input: number): number {
  return layout === 'outputs-first' ? data[output * inputs + input] : data[input * outputs + output];
}

/** The weights [outputs,inputs] that blocks of four bits stand for. */
function fromBlocks({ parts }: EncodedMatrix, size: BlockSize, outputs: number, inputs: number): number[] {
  const codes = dataOf(parts.codes, 'uint8');
  const scales = dataOf(parts.scales, 'float32');
  const blocks = Math.ceil(inputs / size);
  return Array.from({ length: outputs * inputs }, (_, i) => {
    const [output, input] = [Math.floor(i / inputs), i % inputs];
    const block = output * blocks + Math.floor(input / size);
    const byte = codes[(block * size) / 2 + ((input % size) >> 1)];
    return ((input % 2 === 0 ? byte & 15 : byte >> 4) - 8) * scales[block];
  });
}

const matrices = fc
  .record({ outputs: fc.integer({ min: 1, max: 5 }), inputs: fc.integer({ min: 1, max: 150 }), seed: fc.nat(1e6) })
  .chain(({ outputs, inputs, seed }) => {
    const random = new Random(seed);
    const data = Float32Array.from({ length: outputs * inputs }, () => random.normal() * 10 ** random.integer(3));
    return fc
      .constantFrom<DenseMatrix['layout']>('outputs-first', 'inputs-first')
      .map((layout) => matrixOf(outputs, inputs, data, layout));
  });
const runs = { seed: 5, numRuns: 60 };

describe('eight bits', () => {
  it('are off by at most half a step of their output, in both layouts', () => {
    fc.assert(
      fc.property(matrices, fc.constantFrom<DenseMatrix['layout']>('outputs-first', 'inputs-first'), (matrix, to) => {
        const { parts, error } = encodeBytes(matrix, to);
        const codes = dataOf(parts.codes, 'int8');
        const scales = dataOf(parts.scales, 'float32');
        let worst = 0;
        for (let output = 0; output < matrix.outputs; output++) {
          for (let input = 0; input < matrix.inputs; input++) {
            const at = to === 'outputs-first' ? output * matrix.inputs + input : input * matrix.outputs + output;
            const difference = Math.abs(weightAt(matrix, output, input) - codes[at] * scales[output]);
            expect(difference).toBeLessThanOrEqual(scales[output] * 0.501);
            worst = Math.max(worst, difference);
          }
        }
        const peak = Math.max(...matrix.data.map(Math.abs));
        expect(error.max).toBeCloseTo(worst / peak, 10);
      }),
      runs,
    );
  });
});

describe.each(blockSizes)('four bits in blocks of %i', (size) => {
  it('are off by at most a step of their block, and what is beyond the inputs is 0', () => {
    fc.assert(
      fc.property(matrices, (matrix) => {
        const { outputs, inputs } = matrix;
        const encoded = encodeBlocks(matrix, size);
        const scales = dataOf(encoded.parts.scales, 'float32');
        const blocks = Math.ceil(inputs / size);
        const stored = fromBlocks(encoded, size, outputs, inputs);
        stored.forEach((value, i) => {
          const [output, input] = [Math.floor(i / inputs), i % inputs];
          const step = Math.abs(scales[output * blocks + Math.floor(input / size)]);
          expect(Math.abs(weightAt(matrix, output, input) - value)).toBeLessThanOrEqual(step * 1.01);
        });
        const padded = fromBlocks(encoded, size, outputs, blocks * size);
        const beyond = padded.filter((_, i) => i % (blocks * size) >= inputs);
        expect(beyond.every((value) => value === 0)).toBe(true);
      }),
      runs,
    );
  });

  it('keep multiples of a step', () => {
    const data = Float32Array.from({ length: size }, (_, i) => 0.25 * ((i % 16) - 8));
    const encoded = encodeBlocks(matrixOf(1, size, data, 'outputs-first'), size);
    expect(encoded.error).toEqual({ max: 0, rms: 0 });
    expect(fromBlocks(encoded, size, 1, size)).toEqual([...data]);
  });
});

describe('half precision', () => {
  it('rounds each number', () => {
    const { parts, error } = encodeHalves(matrixOf(1, 3, Float32Array.of(1, -2.5, 1 + 2 ** -12), 'outputs-first'));
    expect([...dataOf(parts.halves, 'float16')]).toEqual([0x3c00, 0xc100, 0x3c00]);
    expect(error.max).toBeCloseTo(2 ** -12 / 2.5, 12);
  });
});

describe.each([
  ['bytes', (matrix: DenseMatrix) => encodeBytes(matrix, 'inputs-first')],
  ['blocks', (matrix: DenseMatrix) => encodeBlocks(matrix, 64)],
  ['halves', encodeHalves],
] as const)('%s', (_, encode) => {
  it('keep a matrix of zeros', () => {
    expect(encode(matrixOf(2, 3, new Float32Array(6), 'outputs-first')).error).toEqual({ max: 0, rms: 0 });
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('refuse %s, by name', (value) => {
    const data = new Float32Array(6).fill(1);
    data[4] = value;
    expect(() => encode(matrixOf(2, 3, data, 'outputs-first'))).toThrow('"w" holds numbers that are not finite');
  });
});
