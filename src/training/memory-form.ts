/** Chooses between running whole, with all weights in memory, and layer by layer; refuses before reading a weight. */
import { LinnetError } from '../errors.ts';
import { formatBytes } from '../report/quantities.ts';
import { elementCount } from '../graph/tensor.ts';
import { parameterCount, type ParameterShapes, selectParameters } from '../nn/parameters.ts';
import type { CodedMatrix, CodeForm } from '../checkpoint/weight-file.ts';
import type { BlockSize } from '../graph/ops/quantized.ts';
import { blockForSize, type WeightType } from '../quantization/sources.ts';
import { memoryLimit } from './plans/options.ts';
import { processBytes } from './step-cost.ts';

/** All weights in memory, or one layer's at a time. */
export type MemoryForm = 'whole' | 'layers';

/** Bytes of a weight in the runtime's own form of int4: codes, and a scale and a sum of each block. */
const packedBytes = (block: BlockSize): number => 0.5 + 8 / block;

/** Bytes of a weight in codes: as `packedBytes`, scales that stay mapped, zero points, minima (docs/reference/formats.md). */
function codedBytes({ bits, size, minima, zeros }: CodeForm): number {
  return bits / 8 + (12 + (minima || zeros === true ? bits / 8 : 0) + (minima ? 4 : 0)) / size;
}

/** Bytes that a parameter takes while an engine is made of a checkpoint (measured at 0.5B and 7B). */
const openedBytes: Readonly<Record<WeightType, (block: BlockSize) => number>> = {
  f32: () => 5,
  f16: () => 2.8,
  w8a8: () => 1.4,
  int4: (block) => codedBytes({ bits: 4, size: block, minima: false }),
};

/** Peak memory of creating an engine from a checkpoint. @param block int4 block size */
export function engineMemory(parameters: ParameterShapes, dtype: WeightType, block = blockForSize(parameters)): number {
  return processBytes + openedBytes[dtype](block) * parameterCount(parameters);
}

/** The same of one that keeps the codes of its files; parameters without are float32. */
export function codedMemory(parameters: ParameterShapes, codes: (name: string) => CodedMatrix | undefined): number {
  const bytes = Array.from(parameters, ([name, { shape }]) => {
    const matrix = codes(name);
    return elementCount(shape) * (matrix === undefined ? 5 : codedBytes(matrix.form));
  });
  return bytes.reduce((sum, each) => sum + each, processBytes);
}

/** Freed pieces up to this size stay with a process (glibc's largest `M_MMAP_THRESHOLD`). */
const largestPiece = 2 ** 25;

/** Memory that stays with the process when an engine in int4 is disposed of (0.25 GiB measured at 0.5B). */
export function memoryAfterEngine(parameters: ParameterShapes, block = blockForSize(parameters)): number {
  const bytes = packedBytes(block);
  const pieces = [...parameters.values()].map(({ shape }) => bytes * elementCount(shape));
  return pieces.reduce((sum, bytes) => (bytes <= largestPiece ? sum + bytes : sum), 0);
}

/** Tensor pieces held by a file-to-file copy, including uncollected garbage (measured at 7B). */
const copiedBytes = 2 ** 26;

/** Memory for copying a model with some parameters replaced. */
export function copyMemory(copied: { readonly parameters: ParameterShapes }, made: typeof copied): number {
  const fresh = selectParameters(made.parameters, (name) => !copied.parameters.has(name));
  return processBytes + copiedBytes + 4 * parameterCount(fresh);
}

/** A form that fits, and its memory at the peak. */
export interface FormPlan {
  readonly form: MemoryForm;
  readonly memoryBytes: number;
}

/**
 * The faster form that fits.
 * @param bytes memory of each form of the work
 * @param remedies completes "What helps:"
 * @param option that sets the limit
 * @throws LinnetError `CONFIG` if neither fits
 */
export function chooseForm(
  work: string,
  bytes: Readonly<Partial<Record<MemoryForm, number>>>,
  limit: number = memoryLimit(undefined),
  remedies: readonly string[] = [],
  option = '`memory`',
): FormPlan {
  const forms = (['whole', 'layers'] as const).flatMap((form) => {
    const memoryBytes = bytes[form];
    return memoryBytes === undefined ? [] : [{ form, memoryBytes: Math.ceil(memoryBytes) }];
  });
  const fitting = forms.find(({ memoryBytes }) => memoryBytes <= limit);
  if (fitting !== undefined) return fitting;
  const smallest = Math.min(...forms.map(({ memoryBytes }) => memoryBytes));
  const helps = [...remedies, `${option} of at least ${formatBytes(smallest)}, if the machine has it`];
  throw new LinnetError(
    'CONFIG',
    `${work} takes about ${formatBytes(smallest)}, and the limit is ${formatBytes(limit)}. What helps: ${helps.join('; ')}`,
  );
}

/** @param memory as `memoryLimit`. @throws LinnetError `CONFIG` if not even the trained model's weights fit */
export function requireWeights(parameters: ParameterShapes, memory: string | undefined): void {
  const whole = processBytes + 4 * parameterCount(parameters);
  chooseForm('a model in memory', { whole }, memoryLimit(memory), ['a smaller model']);
}
