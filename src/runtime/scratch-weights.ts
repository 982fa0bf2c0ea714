/** Weights that have to be made, in a file that an engine maps: one at a time is in memory, besides the engine's own form of them. */
import { mkdir, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { requireDiskRoom } from '../files/disk-room.ts';
import { writeFully } from '../files/regular-file.ts';
import { removeAbandoned, temporarySibling } from '../files/temporary-files.ts';
import type { OnnxGraph } from '../graph/onnx/model.ts';
import { tensorBytes } from '../graph/tensor.ts';
import { byteLength } from './encoded-graph.ts';

const siblings = join(tmpdir(), 'linnet-weights');
const FILE = 'weights';
/** Fewer bytes of weights stay in memory. */
const leastBytes = 1 << 24;
const pageBytes = 4096;

/** A folder for the weights of a graph until an engine has opened it. Dispose of it. */
export class ScratchWeights implements AsyncDisposable {
  readonly #folder = temporarySibling(siblings);

  /** The graph with its deferred weights in a file; as it was where these are few, or the disk has no room. */
  async store(graph: OnnxGraph): Promise<OnnxGraph> {
    const deferred = graph.deferred ?? [];
    const bytes = deferred.reduce((sum, { tensor }) => sum + byteLength(tensor), 0);
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
    const stored: (typeof deferred)[number][] = [];
    let offset = 0;
    for (const { name, tensor } of deferred) {
      const data = tensorBytes(await tensor.load());
      await writeFully(file, data, offset);
      const place = { folder, file: FILE, offset, dtype: tensor.dtype, unchanged: () => Promise.resolve() };
      stored.push({ name, tensor: { ...tensor, place } });
      offset = Math.ceil((offset + data.length) / pageBytes) * pageBytes;
    }
    return { ...graph, deferred: stored };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Windows keeps mapped files: the next process removes them.
    await rm(this.#folder, { recursive: true, force: true }).catch(() => undefined);
  }
}
