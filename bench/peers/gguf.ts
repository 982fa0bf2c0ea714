/** Writes GGUF version 3 files, tensor by tensor: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
import { type FileHandle, open } from 'node:fs/promises';

/** A metadata value: writes its type number, then itself. */
export type GgufValue = (writer: ByteWriter) => void;

export interface GgufTensor {
  readonly name: string;
  /** Fastest dimension first, as in ggml: a matrix of R rows and C columns is [C, R]. */
  readonly dimensions: readonly number[];
  readonly ggmlType: number;
  readonly bytes: number;
  /** The data, in pieces. */
  readonly data: () => Iterable<Uint8Array>;
}

const alignment = 32;
const typeNumbers = { uint32: 4, int32: 5, float32: 6, string: 8, array: 9 } as const;

/** A growing buffer of little-endian bytes. */
class ByteWriter {
  readonly #parts: Buffer[] = [];
  length = 0;

  uint32(value: number): void {
    const part = Buffer.alloc(4);
    part.writeUInt32LE(value);
    this.#push(part);
  }

  int32(value: number): void {
    this.uint32(value >>> 0);
  }

  uint64(value: number): void {
    const part = Buffer.alloc(8);
    part.writeBigUInt64LE(BigInt(value));
    this.#push(part);
  }

  float32(value: number): void {
    const part = Buffer.alloc(4);
    part.writeFloatLE(value);
    this.#push(part);
  }

  string(value: string): void {
    const text = Buffer.from(value, 'utf8');
    this.uint64(text.length);
    this.#push(text);
  }

  padTo(multiple: number): void {
    this.#push(Buffer.alloc((multiple - (this.length % multiple)) % multiple));
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }

  #push(part: Buffer): void {
    this.#parts.push(part);
    this.length += part.length;
  }
}

export function uint32(value: number): GgufValue {
  return (writer) => {
    writer.uint32(typeNumbers.uint32);
    writer.uint32(value);
  };
}

export function float32(value: number): GgufValue {
  return (writer) => {
    writer.uint32(typeNumbers.float32);
    writer.float32(value);
  };
}

export function string(value: string): GgufValue {
  return (writer) => {
    writer.uint32(typeNumbers.string);
    writer.string(value);
  };
}

function array<T>(elementType: number, values: readonly T[], write: (writer: ByteWriter, value: T) => void): GgufValue {
  return (writer) => {
    writer.uint32(typeNumbers.array);
    writer.uint32(elementType);
    writer.uint64(values.length);
    for (const value of values) write(writer, value);
  };
}

export function strings(values: readonly string[]): GgufValue {
  return array(typeNumbers.string, values, (writer, value) => {
    writer.string(value);
  });
}

export function float32s(values: readonly number[]): GgufValue {
  return array(typeNumbers.float32, values, (writer, value) => {
    writer.float32(value);
  });
}

export function int32s(values: readonly number[]): GgufValue {
  return array(typeNumbers.int32, values, (writer, value) => {
    writer.int32(value);
  });
}

/** Everything before the data. Tensor offsets count from the end of this header. */
function header(metadata: ReadonlyMap<string, GgufValue>, tensors: readonly GgufTensor[]): Buffer {
  const writer = new ByteWriter();
  writer.uint32(0x46554747); // "GGUF"
  writer.uint32(3);
  writer.uint64(tensors.length);
  writer.uint64(metadata.size);
  for (const [key, write] of metadata) {
    writer.string(key);
    write(writer);
  }
  let offset = 0;
  for (const { name, dimensions, ggmlType, bytes } of tensors) {
    writer.string(name);
    writer.uint32(dimensions.length);
    for (const dimension of dimensions) writer.uint64(dimension);
    writer.uint32(ggmlType);
    writer.uint64(offset);
    offset += padded(bytes);
  }
  writer.padTo(alignment);
  return writer.bytes;
}

function padded(bytes: number): number {
  return alignment * Math.ceil(bytes / alignment);
}

/** Writes a file, holding one piece of one tensor at a time. */
export async function writeGguf(
  path: string,
  metadata: ReadonlyMap<string, GgufValue>,
  tensors: readonly GgufTensor[],
): Promise<void> {
  const file = await open(path, 'w');
  try {
    await writeAll(file, header(metadata, tensors));
    for (const tensor of tensors) {
      let written = 0;
      for (const piece of tensor.data()) {
        await writeAll(file, piece);
        written += piece.length;
      }
      if (written !== tensor.bytes) throw new Error(`${tensor.name}: ${written} of ${tensor.bytes} bytes`);
      await writeAll(file, new Uint8Array(padded(written) - written));
    }
  } finally {
    await file.close();
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) done += (await file.write(bytes, done)).bytesWritten;
}
