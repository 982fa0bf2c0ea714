/**
 * Reads the golden numbers under test/golden and compares with them. The files are our own, so this is a minimal
 * reader that trusts them; the hostile-input reader is `src/checkpoint`.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { golden } from '../fixtures.ts';

/** Element types that occur in the golden files. */
export type GoldenDType = 'F64' | 'F32' | 'I32' | 'U8';

/** One tensor of a golden file, row-major. */
export interface GoldenTensor {
  readonly dtype: GoldenDType;
  readonly shape: readonly number[];
  readonly data: Float64Array | Float32Array | Int32Array | Uint8Array;
}

const headerSchema = z.record(
  z.string(),
  z.object({
    dtype: z.enum(['F64', 'F32', 'I32', 'U8']),
    shape: z.array(z.int().nonnegative()),
    data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
  }),
);

const views: Record<GoldenDType, (bytes: ArrayBuffer) => GoldenTensor['data']> = {
  F64: (bytes) => new Float64Array(bytes),
  F32: (bytes) => new Float32Array(bytes),
  I32: (bytes) => new Int32Array(bytes),
  U8: (bytes) => new Uint8Array(bytes),
};

/**
 * All tensors of a safetensors file of a golden case.
 * @param caseName folder under test/golden, for example `tree_chain5`
 * @param file `io.safetensors` (inputs and expected outputs), `weights.safetensors` or `adapter.safetensors`
 */
export function readGolden(caseName: string, file = 'io.safetensors'): Map<string, GoldenTensor> {
  const bytes = readFileSync(join(golden(caseName), file));
  const headerLength = Number(bytes.readBigUInt64LE(0));
  const dataStart = 8 + headerLength;
  const header: unknown = JSON.parse(bytes.toString('utf8', 8, dataStart));
  const { __metadata__: _, ...entries } = z.record(z.string(), z.unknown()).parse(header);
  const tensors = new Map<string, GoldenTensor>();
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(headerSchema.parse(entries))) {
    // A copy, because an element view needs its start aligned and a Buffer may begin anywhere in its pool.
    const copy = new Uint8Array(bytes.subarray(dataStart + data_offsets[0], dataStart + data_offsets[1]));
    const data = views[dtype](copy.buffer);
    if (data.length !== shape.reduce((count, dim) => count * dim, 1)) {
      throw new Error(`golden tensor ${caseName}/${name}: shape [${shape.join(',')}] but ${data.length} elements`);
    }
    tensors.set(name, { dtype, shape, data });
  }
  caseNames.set(tensors, caseName);
  return tensors;
}

/** A tensor that must be there. */
export function goldenTensor(tensors: ReadonlyMap<string, GoldenTensor>, name: string): GoldenTensor {
  const found = tensors.get(name);
  if (found === undefined) throw new Error(`no golden tensor '${name}'; there are ${[...tensors.keys()].join(', ')}`);
  return found;
}

/** The elements of a tensor that must be there, as float64 whatever its type. */
export function goldenNumbers(tensors: ReadonlyMap<string, GoldenTensor>, name: string): Float64Array {
  const numbers = Float64Array.from(goldenTensor(tensors, name).data);
  const caseName = caseNames.get(tensors);
  if (caseName !== undefined) origins.set(numbers, { caseName, tensor: name });
  return numbers;
}

/** Which case a file's tensors are of, and which tensor numbers come from: what comparisons are logged under. */
const caseNames = new WeakMap<ReadonlyMap<string, GoldenTensor>, string>();
const origins = new WeakMap<object, { readonly caseName: string; readonly tensor: string }>();

/** Where comparisons are logged, a JSON object a line, for the table of docs/notes/parity.md; see scripts/parity-table.ts. */
const parityLog = process.env.LINNET_PARITY_LOG;

/** `config.json` of a golden case, checked against a zod schema of the fields that the test uses. */
export function goldenConfig<T>(caseName: string, schema: z.ZodType<T>, file?: string): T;
/** `config.json` of a golden case, unchecked. */
export function goldenConfig(caseName: string): unknown;
export function goldenConfig<T>(caseName: string, schema?: z.ZodType<T>, file = 'config.json'): unknown {
  const config: unknown = JSON.parse(readFileSync(join(golden(caseName), file), 'utf8'));
  return schema === undefined ? config : schema.parse(config);
}

/**
 * Largest difference divided by the largest expected magnitude: the measure in which golden tolerances are given.
 * NaN on either side gives NaN, which no tolerance passes. A tensor that is zero up to rounding has no scale of its
 * own, so magnitudes below `smallestPeak` (default 1e-6; golden inputs are of order 1) count as that.
 */
export function relativeToPeak(actual: ArrayLike<number>, expected: ArrayLike<number>, smallestPeak = 1e-6): number {
  if (actual.length !== expected.length) {
    throw new Error(`${actual.length} elements cannot be compared with ${expected.length}`);
  }
  let difference = 0;
  let peak = smallestPeak;
  for (let i = 0; i < expected.length; i++) {
    const a = actual[i] ?? Number.NaN;
    const b = expected[i] ?? Number.NaN;
    difference = Math.max(difference, Math.abs(a - b));
    peak = Math.max(peak, Math.abs(b));
  }
  const error = difference / peak;
  const origin = origins.get(expected);
  if (parityLog !== undefined && origin !== undefined) {
    appendFileSync(parityLog, `${JSON.stringify({ ...origin, error })}\n`);
  }
  return error;
}
