/** The worker thread that encodes weights. Starts when loaded. */
import { rowOfFile } from '../checkpoint/safetensors/stored-dtypes.ts';
import { internalError } from '../errors.ts';
import { openRegularFile, readExactly } from '../files/regular-file.ts';
import { bytesPerElement } from '../graph/tensor.ts';
import { answerRequests } from '../runtime/worker-thread.ts';
import { builtBlocks } from './assembled-blocks.ts';
import { type EncodedMatrix, matrixEncoder } from './encoding.ts';
import type { Stretch } from './encoding-threads.ts';

/** Bytes read together, in whole rows: few enough for a cache. */
const pieceBytes = 1 << 20;
/** Reused: fresh memory costs its first touch. */
let room = new Uint8Array(0);
let numbers = new Float32Array(0);
/** Undefined: encode in JavaScript. */
const encodeBlocks = builtBlocks();

answerRequests(async ({ path, offset, dtype, matrix, encoding }: Stretch, handover): Promise<EncodedMatrix> => {
  const convert = rowOfFile(dtype)?.toFloat32;
  if (convert === undefined) throw internalError(`${dtype} is not a weight type`);
  const encoder = matrixEncoder(matrix, encoding, encodeBlocks);
  const rowBytes = matrix.inputs * bytesPerElement[dtype];
  const step = Math.min(matrix.outputs, Math.max(1, Math.floor(pieceBytes / rowBytes)));
  if (room.length < step * rowBytes) room = new Uint8Array(step * rowBytes);
  if (numbers.length < step * matrix.inputs) numbers = new Float32Array(step * matrix.inputs);
  await using file = await openRegularFile(path);
  for (let row = 0; row < matrix.outputs; row += step) {
    const rows = Math.min(step, matrix.outputs - row);
    const bytes = room.subarray(0, rows * rowBytes);
    await readExactly(file.handle, bytes, offset + row * rowBytes, path);
    encoder.add(convert(bytes, numbers.subarray(0, rows * matrix.inputs)));
  }
  const encoded = encoder.finish();
  for (const { data } of Object.values(encoded.parts))
    if (data.buffer instanceof ArrayBuffer) handover.add(data.buffer);
  return encoded;
});
