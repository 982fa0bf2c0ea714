import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BlockSize, blockSizes } from '../graph/ops/quantized.ts';
import { dataOf } from '../graph/tensor.ts';
import { Random } from '../random.ts';
import {
  blockEncoder,
  byteEncoder,
  type DenseMatrix,
  encodeMatrix,
  type EncodedMatrix,
  halfEncoder,
  type MatrixEncoder,
  weightError,
} from './encoding.ts';

function matrixOf(outputs: number, inputs: number, data: Float32Array, layout: DenseMatrix['layout']): DenseMatrix {
  return { name: 'w', outputs, inputs, layout, data };
}

function withError({ parts, sums }: EncodedMatrix) {
  return { parts, error: weightError('w', [{ sums }]) };
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
        const { parts, error } = withError(encodeMatrix(byteEncoder(matrix, to), matrix));
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
        const encoded = encodeMatrix(blockEncoder(matrix, size), matrix);
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

  it('have the first scale of least squared error among three', () => {
    const codeOf = (weight: number, scale: number): number => {
      const steps = scale === 0 ? 0 : weight * (1 / scale);
      const [low, part] = [Math.floor(steps), steps - Math.floor(steps)];
      const nearest = part > 0.5 || (part === 0.5 && low % 2 !== 0) ? low + 1 : low; // ties to even
      return Math.min(7, Math.max(-8, nearest));
    };
    fc.assert(
      fc.property(matrices, (matrix) => {
        const { outputs, inputs } = matrix;
        const blocks = Math.ceil(inputs / size);
        const expected = Array.from({ length: outputs * blocks }, (_, block) => {
          const [output, first] = [Math.floor(block / blocks), (block % blocks) * size];
          const weights = Array.from({ length: size }, (_, i) =>
            first + i < inputs ? weightAt(matrix, output, first + i) : 0,
          );
          const peak = weights.reduce((most, weight) => (Math.abs(weight) > Math.abs(most) ? weight : most), 0);
          const candidates = [-8, -7.5, -7].map((end) => {
            const scale = Math.fround(peak / end);
            const codes = weights.map((weight) => codeOf(weight, scale));
            const error = weights.reduce((sum, weight, i) => sum + (weight - codes[i] * scale) ** 2, 0);
            return { scale, codes, error };
          });
          return candidates.reduce((best, other) => (other.error < best.error ? other : best));
        });
        const { parts } = encodeMatrix(blockEncoder(matrix, size), matrix);
        const codes = expected.flatMap((block) => block.codes).map((code) => code + 8);
        expect([...dataOf(parts.scales, 'float32')]).toEqual(expected.map(({ scale }) => scale));
        expect([...dataOf(parts.codes, 'uint8')]).toEqual(
          codes.flatMap((code, i) => (i % 2 === 0 ? [code | (codes[i + 1] << 4)] : [])),
        );
      }),
      runs,
    );
  });

  it('keep multiples of a step', () => {
    const data = Float32Array.from({ length: size }, (_, i) => 0.25 * ((i % 16) - 8));
    const matrix = matrixOf(1, size, data, 'outputs-first');
    const encoded = encodeMatrix(blockEncoder(matrix, size), matrix);
    expect(weightError('w', [encoded])).toEqual({ max: 0, rms: 0 });
    expect(fromBlocks(encoded, size, 1, size)).toEqual([...data]);
  });
});

describe('half precision', () => {
  it('rounds each number', () => {
    const matrix = matrixOf(1, 3, Float32Array.of(1, -2.5, 1 + 2 ** -12), 'outputs-first');
    const { parts, error } = withError(encodeMatrix(halfEncoder(matrix), matrix));
    expect([...dataOf(parts.halves, 'float16')]).toEqual([0x3c00, 0xc100, 0x3c00]);
    expect(error.max).toBeCloseTo(2 ** -12 / 2.5, 12);
  });
});

describe.each<[string, (matrix: DenseMatrix) => MatrixEncoder]>([
  ['bytes for products', (matrix) => byteEncoder(matrix, 'inputs-first')],
  ['bytes for looking up', (matrix) => byteEncoder(matrix, 'outputs-first')],
  ['blocks of 32', (matrix) => blockEncoder(matrix, 32)],
  ['blocks of 64', (matrix) => blockEncoder(matrix, 64)],
  ['halves', halfEncoder],
])('%s', (_, encoderOf) => {
  const encode = (matrix: DenseMatrix) => withError(encodeMatrix(encoderOf(matrix), matrix));

  it('keep a matrix of zeros', () => {
    expect(encode(matrixOf(2, 3, new Float32Array(6), 'outputs-first')).error).toEqual({ max: 0, rms: 0 });
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('refuse %s, by name', (value) => {
    const data = new Float32Array(6).fill(1);
    data[4] = value;
    expect(() => encode(matrixOf(2, 3, data, 'outputs-first'))).toThrow('"w" holds numbers that are not finite');
  });

  it('are the same however many rows come at a time', () => {
    const random = new Random(11);
    const [outputs, inputs] = [150, 70]; // more outputs than are visited together, and a part of a block at the end
    const matrix = matrixOf(
      outputs,
      inputs,
      Float32Array.from({ length: outputs * inputs }, () => random.normal()),
      'outputs-first',
    );
    const whole = encode(matrix);
    for (const rows of [1, 7, 64, 65]) {
      const encoder = encoderOf(matrix);
      for (let i = 0; i < outputs; i += rows) encoder.add(matrix.data.slice(i * inputs, (i + rows) * inputs));
      const { parts, error } = withError(encoder.finish());
      expect(parts).toEqual(whole.parts);
      expect(error.max).toBe(whole.error.max);
      expect(error.rms).toBeCloseTo(whole.error.rms, 12);
    }
  });

  it('are the same in both layouts, but for the place of halves', () => {
    const random = new Random(12);
    const [outputs, inputs] = [130, 33];
    const data = Float32Array.from({ length: outputs * inputs }, () => random.normal());
    const across = data.map((_, i) => data[(i % outputs) * inputs + Math.floor(i / outputs)]);
    const first = encode(matrixOf(outputs, inputs, data, 'outputs-first'));
    const second = encode(matrixOf(outputs, inputs, across, 'inputs-first'));
    expect(second.error.max).toBe(first.error.max);
    if (encoderOf(matrixOf(1, 1, data, 'inputs-first')).anyLayout) {
      expect(second.parts.halves.shape).toEqual([inputs, outputs]);
    } else {
      expect(second.parts).toEqual(first.parts);
    }
  });
});
