/** Computed weights in a file that an engine maps: only one at a time is in memory, besides the engine's own form of them. */
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { internalError } from '../errors.ts';
import { requireDiskRoom } from '../files/disk-room.ts';
import { writeFully } from '../files/regular-file.ts';
import { removeAbandoned, temporarySibling } from '../files/temporary-files.ts';
import type { OnnxGraph } from '../graph/onnx/model.ts';
import { byteLengthOf, type DeferredTensor, type FilePlace, tensorBytes, type TensorPass } from '../graph/tensor.ts';
import { remove } from '../files/remove.ts';

const siblings = join(tmpdir(), 'linnet-weights');
const FILE = 'weights';
/** With fewer bytes, weights stay in memory. */
const leastBytes = 1 << 24;
const pageBytes = 4096;

/** A folder for a graph's weights until an engine has opened it. Dispose of it when done. */
export class ScratchWeights implements AsyncDisposable {
  readonly #folder = temporarySibling(siblings);

  /** The graph with its deferred weights in a file; unchanged if they are few or the disk has no room. */
  async store(graph: OnnxGraph): Promise<OnnxGraph> {
    const deferred = graph.deferred ?? [];
    const bytes = deferred.reduce((sum, { tensor }) => sum + byteLengthOf(tensor), 0);
    if (bytes < leastBytes) return graph;
    const folder = this.#folder;
    try {
      await removeAbandoned(siblings);
      await requireDiskRoom(folder, bytes, graph.name);
      await mkdir(folder, { mode: 0o700 });
    } catch {
      return graph;
    }
    await using file = await open(join(folder, FILE), 'wx', 0o600);
    let end = 0;
    const placed = deferred.map(({ name, tensor }) => {
      const offset = end;
      end = Math.ceil((offset + byteLengthOf(tensor)) / pageBytes) * pageBytes;
      const place = { folder, file: FILE, offset, dtype: tensor.dtype, unchanged: () => Promise.resolve() };
      return { name, tensor: { ...tensor, place } };
    });
    const made = new Set<TensorPass>();
    for (const { tensor } of placed) {
      if (tensor.pass === undefined) await writeFully(file, tensorBytes(await tensor.load()), tensor.place.offset);
      else if (!made.has(tensor.pass.by)) {
        const { by } = tensor.pass;
        made.add(by);
        const parts = placed.flatMap((one) =>
          one.tensor.pass?.by === by ? [{ ...one.tensor, ...one.tensor.pass }] : [],
        );
        await writeParts(file, by, parts);
      }
    }
    return { ...graph, deferred: placed };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Windows keeps mapped files: the next process removes them.
    await remove(this.#folder).catch(() => undefined);
  }
}

/** A tensor that a pass makes, and where to put it. */
type PassPart = Pick<DeferredTensor, 'dtype' | 'shape'> & { readonly part: string; readonly place: FilePlace };

/** Writes a pass's pieces while the next one is made. */
async function writeParts(file: FileHandle, pass: TensorPass, parts: readonly PassPart[]): Promise<void> {
  const ends = parts.map(({ place }) => place.offset);
  let writing: Promise<unknown> = Promise.resolve();
  for await (const piece of pass.pieces()) {
    await writing;
    writing = Promise.all(
      parts.map(async ({ part }, i) => {
        const values = piece[part];
        if (values === undefined) return;
        const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
        const start = ends[i];
        ends[i] += bytes.length;
        await writeFully(file, bytes, start);
      }),
    );
    writing.catch(() => undefined); // awaited later
  }
  await writing;
  for (const [i, { part, place, ...type }] of parts.entries()) {
    if (ends[i] !== place.offset + byteLengthOf(type)) throw internalError(`a pass made ${part} of another size`);
  }
}
