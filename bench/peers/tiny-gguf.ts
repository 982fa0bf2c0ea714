/**
 * Tiny GGUF models with new weights: a template's metadata and vectors, matrices of random codes in one format, and a head
 * fitted to hidden states, so that the most probable token leads by far and rounding never decides a tie.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { halfValues } from '../../src/checkpoint/safetensors/float-conversion.ts';
import { type ListedTensor, readGgufHeader } from '../../src/checkpoint/gguf/header.ts';
import { type BlockFormat, halfBits, RandomBytes, randomFormats, randomMatrix } from './random-blocks.ts';

export const tinyTypes = ['F32', 'F16', 'Q8_0', 'Q6_K', 'Q5_K', 'Q5_0', 'Q4_K', 'Q4_0'] as const;
export type TinyType = (typeof tinyTypes)[number];

/** llama.cpp's choice when rows do not divide into blocks of 256. */
const substitutes: Readonly<Partial<Record<TinyType, TinyType>>> = { Q4_K: 'Q5_0', Q5_K: 'Q5_0', Q6_K: 'Q8_0' };

/** A matrix [rows,columns] in float32. */
export interface Head {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float32Array;
}

interface Stored {
  readonly name: string;
  readonly shape: readonly number[];
  readonly ggmlType: number;
  readonly bytes: Uint8Array;
}

const ggmlTypes: Readonly<Record<string, number>> = { F32: 0, F16: 1, Q8_0: 8 };

/** Parts missing from a template. */
interface Additions {
  /** Biases for the layers' projections. */
  readonly biases?: boolean;
  /** A multi-token prediction layer: attends, and follows all other layers. */
  readonly mtp?: boolean;
}

/** @param head the file's head; default: the template's, also in random codes */
export async function writeTinyGguf(
  to: string,
  template: string,
  type: TinyType,
  head?: Head,
  { biases = false, mtp = false }: Additions = {},
): Promise<void> {
  const bytes = await readFile(template);
  const read = async (offset: number, length: number, room = new Uint8Array(length)) => {
    room.set(bytes.subarray(offset, offset + length));
    return room;
  };
  const { tensors } = await readGgufHeader({ name: template, size: bytes.length, read });
  const random = new RandomBytes(7);
  const stored = [...tensors.values()].map((tensor): Stored => {
    const { name, shape, type: old, offset, byteLength } = tensor;
    if (old.name !== 'F32') return { name, shape, ...randomCodes(tensor, type, random) };
    return { name, shape, ggmlType: 0, bytes: bytes.subarray(offset, offset + byteLength) };
  });
  const others = head === undefined ? stored : stored.filter(({ name }) => name !== 'output.weight');
  const all = head === undefined ? others : [...others, storedHead(head, type)];
  if (biases) all.push(...biasesFor(all));
  const [before, count] = metadataOf(bytes);
  if (!mtp) {
    await writeFile(to, Buffer.concat([...pieces(before, count, all)]));
    return;
  }
  const joined = randomCodes({ shape: [1, 2].map((times) => times * columnsOf(all)) }, type, random);
  const metadata = withDraftLayer(before);
  await writeFile(to, Buffer.concat([...pieces(metadata, count + 1, [...all, ...draftLayer(all, joined)])]));
}

function columnsOf(tensors: readonly Stored[]): number {
  return tensors.find(({ name }) => name === 'token_embd.weight')?.shape[1] ?? 0;
}

/** @param joined the matrix over embedding and hidden state */
function draftLayer(tensors: readonly Stored[], joined: Pick<Stored, 'ggmlType' | 'bytes'>): Stored[] {
  const numbers = tensors.map(({ name }) => Number(/^blk\.(\d+)\.attn_k\./.exec(name)?.[1] ?? -1));
  const [from, to] = [Math.max(...numbers), layersOf(tensors)].map((layer) => `blk.${layer}.`);
  const columns = columnsOf(tensors);
  const norm = (name: string, phase: number): Stored => ({
    name: `${to}nextn.${name}.weight`,
    shape: [columns],
    ggmlType: ggmlTypes.F32,
    bytes: new Uint8Array(Float32Array.from({ length: columns }, (_, i) => 1 + Math.sin(i + phase) / 4).buffer),
  });
  return [
    ...tensors.filter(({ name }) => name.startsWith(from)).map((one) => ({ ...one, name: one.name.replace(from, to) })),
    { name: `${to}nextn.eh_proj.weight`, shape: [columns, 2 * columns], ...joined },
    ...['enorm', 'hnorm', 'shared_head_norm'].map(norm),
  ];
}

function layersOf(tensors: readonly Pick<Stored, 'name'>[]): number {
  return 1 + Math.max(...tensors.map(({ name }) => Number(/^blk\.(\d+)\./.exec(name)?.[1] ?? -1)));
}

/** The metadata with one more layer, and the entry that marks it as the draft layer. */
function withDraftLayer(metadata: Uint8Array): Uint8Array {
  const changed = Buffer.from(metadata);
  const key = 'block_count';
  const place = changed.indexOf(key);
  const start = changed.lastIndexOf(Buffer.alloc(4), place) + 4; // after the key's length
  const prefix = changed.toString('latin1', start, place);
  const value = place + key.length + 4;
  changed.writeUInt32LE(changed.readUInt32LE(value) + 1, value);
  const name = Buffer.from(`${prefix}nextn_predict_layers`);
  const entry = Buffer.alloc(8 + name.length + 8);
  entry.writeBigUInt64LE(BigInt(name.length));
  name.copy(entry, 8);
  entry.writeUInt32LE(4, 8 + name.length); // an unsigned 32-bit number
  entry.writeUInt32LE(1, 12 + name.length);
  return Buffer.concat([changed, entry]);
}

/** Biases for the layers' projections: a wave, with a different phase in each. */
function biasesFor(tensors: readonly Stored[]): Stored[] {
  const projections = tensors.filter(({ name, shape }) => name.startsWith('blk.') && shape.length === 2);
  return projections.map(({ name, shape: [rows] }, phase) => ({
    name: name.replace(/weight$/, 'bias'),
    shape: [rows],
    ggmlType: ggmlTypes.F32,
    bytes: new Uint8Array(Float32Array.from({ length: rows }, (_, i) => Math.sin(i + phase)).buffer),
  }));
}

function randomCodes(
  { shape }: Pick<ListedTensor, 'shape'>,
  type: TinyType,
  random: RandomBytes,
): Pick<Stored, 'ggmlType' | 'bytes'> {
  const [rows, columns] = [shape.slice(0, -1).reduce((a, b) => a * b, 1), shape[shape.length - 1]];
  const wanted = type === 'F32' ? 'F16' : type;
  const fits = columns % randomFormats[wanted].blockValues === 0;
  const name = fits ? wanted : (substitutes[wanted] ?? 'F16');
  const format: BlockFormat = randomFormats[name === 'F32' ? 'F16' : name];
  const bytes = Buffer.concat([...randomMatrix(format, rows, columns, random)]);
  if (type !== 'F32') return { ggmlType: format.ggmlType, bytes };
  const values = Float32Array.from({ length: rows * columns }, (_, i) => halfValues()[bytes.readUInt16LE(2 * i)]);
  return { ggmlType: ggmlTypes.F32, bytes: new Uint8Array(values.buffer) };
}

/** F32 for F32, otherwise Q8_0. */
function storedHead({ rows, columns, values }: Head, type: TinyType): Stored {
  const own = { name: 'output.weight', shape: [rows, columns] };
  if (type === 'F32' || type === 'F16') return { ...own, ggmlType: 0, bytes: new Uint8Array(values.buffer) };
  const { blockValues, blockBytes, ggmlType } = randomFormats.Q8_0;
  const bytes = Buffer.alloc((values.length / blockValues) * blockBytes);
  for (let block = 0; block < values.length / blockValues; block++) {
    const part = values.subarray(block * blockValues, (block + 1) * blockValues);
    const bits = halfBits(Math.max(0.01, ...part.map(Math.abs)) / 126);
    bytes.writeUInt16LE(bits, block * blockBytes);
    part.forEach((value, i) => {
      const code = Math.round(value / halfValues()[bits]);
      bytes.writeInt8(Math.max(-127, Math.min(127, code)), block * blockBytes + 2 + i);
    });
  }
  return { ...own, ggmlType, bytes };
}

function* pieces(metadata: Uint8Array, entries: number, tensors: readonly Stored[]): Generator<Uint8Array> {
  let written = 0;
  const counted = (part: Uint8Array): Uint8Array => {
    written += part.length;
    return part;
  };
  const padding = (): Uint8Array => counted(Buffer.alloc((32 - (written % 32)) % 32));
  const words = (...values: readonly (number | bigint)[]): Uint8Array =>
    counted(
      Buffer.concat(
        values.map((value) => {
          const part = Buffer.alloc(typeof value === 'bigint' ? 8 : 4);
          if (typeof value === 'bigint') part.writeBigUInt64LE(value);
          else part.writeUInt32LE(value);
          return part;
        }),
      ),
    );
  yield words(0x46554747, 3, BigInt(tensors.length), BigInt(entries));
  yield counted(metadata);
  let offset = 0;
  for (const { name, shape, ggmlType, bytes } of tensors) {
    yield words(BigInt(Buffer.byteLength(name)));
    yield counted(Buffer.from(name));
    yield words(shape.length, ...shape.toReversed().map(BigInt), ggmlType, BigInt(offset));
    offset += 32 * Math.ceil(bytes.length / 32);
  }
  yield padding();
  for (const { bytes } of tensors) {
    yield counted(bytes);
    yield padding();
  }
}

/** Bytes per number by ggml's value type; 8 is a string, 9 an array. */
const valueBytes = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];

/** A file's raw metadata, and its number of entries. */
function metadataOf(bytes: Buffer): [Uint8Array, number] {
  const count = Number(bytes.readBigUInt64LE(16));
  let at = 24;
  const skipText = (): void => {
    at += 8 + Number(bytes.readBigUInt64LE(at));
  };
  const skipValue = (type: number): void => {
    if (type === 8) return skipText();
    if (type !== 9) {
      at += valueBytes[type];
      return;
    }
    const inner = bytes.readUInt32LE(at);
    const length = Number(bytes.readBigUInt64LE(at + 4));
    at += 12;
    for (let i = 0; i < length; i++) skipValue(inner);
  };
  for (let entry = 0; entry < count; entry++) {
    skipText();
    at += 4;
    skipValue(bytes.readUInt32LE(at - 4));
  }
  return [bytes.subarray(24, at), count];
}

/**
 * The least-norm head that gives `target` the logit `peak` and all others 0: W = (Y (H Hᵀ)⁻¹) H.
 * @param hidden [N][columns], N at most `columns`
 */
export function fittedHead(
  hidden: readonly Float32Array[],
  targets: readonly number[],
  rows: number,
  peak: number,
): Head {
  const columns = hidden[0].length;
  const N = hidden.length;
  const gram = hidden.map((a) => hidden.map((b) => a.reduce((sum, value, i) => sum + value * b[i], 0)));
  const ridge = 1e-4 * gram[0][0];
  // [H Hᵀ | 1] by Gauss–Jordan elimination; the matrix is positive definite.
  const work = gram.map((row, n) => [
    ...row.map((value, i) => value + (i === n ? ridge : 0)),
    ...row.map((_, i) => (i === n ? 1 : 0)),
  ]);
  for (let n = 0; n < N; n++) {
    const pivot = work[n].map((value) => value / work[n][n]);
    work[n] = pivot;
    for (let other = 0; other < N; other++) {
      const factor = work[other][n];
      if (other !== n) work[other] = work[other].map((value, i) => value - factor * pivot[i]);
    }
  }
  const values = new Float32Array(rows * columns);
  for (let n = 0; n < N; n++) {
    for (let m = 0; m < N; m++) {
      const weight = peak * work[n][N + m];
      for (let i = 0; i < columns; i++) values[targets[n] * columns + i] += weight * hidden[m][i];
    }
  }
  return { rows, columns, values };
}
