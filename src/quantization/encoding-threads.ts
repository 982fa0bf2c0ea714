/** Threads that encode matrices in files, each a stretch of rows. For Node. */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type FileDType, type FilePlace, bytesPerElement } from '../graph/tensor.ts';
import { internalError } from '../errors.ts';
import { hostModule, WorkerThread } from '../runtime/worker-thread.ts';
import type { EncodedMatrix, Encoding, MatrixShape } from './encoding.ts';

/** Rows of a matrix [outputs,inputs], which a thread reads from their file. */
export interface Stretch {
  readonly path: string;
  readonly offset: number;
  readonly dtype: FileDType;
  readonly matrix: MatrixShape;
  readonly encoding: Encoding;
}

/** Most threads: more would wait for the one that writes. */
const mostThreads = 8;

/** One thread per core. Dispose of them. */
export class EncodingThreads implements AsyncDisposable {
  readonly #threads: readonly WorkerThread<Stretch, EncodedMatrix>[];
  readonly #weights: number;
  #next = 0;

  /** @param weights approximate number per stretch */
  constructor(count = Math.min(mostThreads, availableParallelism()), weights = 1 << 22) {
    this.#weights = weights;
    const host = hostModule('encoding-host', import.meta.url);
    this.#threads = Array.from({ length: count }, () => new WorkerThread('thread that encodes weights', host));
  }

  /**
   * Encodes a matrix [outputs,inputs], in pieces by outputs.
   * @throws LinnetError `MISMATCH` for a file that has changed, and errors of reading it
   */
  async encode(matrix: MatrixShape, encoding: Encoding, place: FilePlace): Promise<readonly EncodedMatrix[]> {
    const { outputs, inputs } = matrix;
    const { folder, file, offset, dtype } = place;
    const step = Math.max(1, Math.floor(this.#weights / inputs));
    const pieces: Promise<EncodedMatrix | undefined>[] = [];
    for (let first = 0; first < outputs; first += step) {
      const rows = { ...matrix, outputs: Math.min(step, outputs - first) };
      const start = offset + first * inputs * bytesPerElement[dtype];
      const thread = this.#threads[this.#next++ % this.#threads.length];
      pieces.push(thread.ask({ path: join(folder, file), offset: start, dtype, matrix: rows, encoding }));
    }
    const encoded = await Promise.all(pieces);
    await place.unchanged();
    return encoded.map((piece) => {
      if (piece === undefined) throw internalError('a thread gave no codes');
      return piece;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }
}
