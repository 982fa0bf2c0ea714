/**
 * Hidden states of a frozen model, computed once per row of a data set and read back in every epoch: in memory where
 * they fit, else in a file. A row's numbers are `length`·width floats.
 */
import { makeFolder } from '../../files/atomic.ts';
import { freemem } from 'node:os';
import { join } from 'node:path';
import { openSafetensors, type SafetensorsFile } from '../../checkpoint/safetensors/reader.ts';
import { writeSafetensors } from '../../checkpoint/safetensors/writer.ts';
import type { PackedDataset } from '../../data/datasets/packing.ts';
import { LinnetError, requireRunning, type Watched } from '../../errors.ts';
import { Graph } from '../../graph/graph.ts';
import { dataOf, int32, type Tensor } from '../../graph/tensor.ts';
import type { CausalModel } from '../../models/model.ts';
import { parallelHidden } from '../../models/graphs/parallel-graph.ts';
import { WeightParameters } from '../../nn/parameters.ts';
import { compile, type CompileOptions } from '../../runtime/compile.ts';
import type { KeptFeature } from '../updates.ts';
import { sha256 } from '../../files/digest.ts';
import { remove } from '../../files/remove.ts';

export const hiddenStatePlaces = ['memory', 'disk', 'recompute'] as const;

/** Places for hidden states: `recompute` keeps none and runs the model in every optimizer step. */
export type HiddenStatePlace = (typeof hiddenStatePlaces)[number];

/**
 * Best place for hidden states. Rows read at most once gain nothing from keeping them. Otherwise reading
 * back beats running the model, from memory as from disk; memory is used while they fill at most a quarter of the free part.
 * @param visits rows read in the whole run, repetitions included
 */
export function hiddenStatePlace(
  dataset: Pick<PackedDataset, 'rows' | 'length'>,
  width: number,
  visits: number,
  freeBytes = freemem(),
): HiddenStatePlace {
  if (visits <= dataset.rows) return 'recompute';
  return 4 * dataset.rows * dataset.length * width <= freeBytes / 4 ? 'memory' : 'disk';
}

export interface HiddenStateOptions extends Watched {
  readonly model: CausalModel;
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** SHA-256 of the model: a file of another model is not read. */
  readonly fingerprint: string;
  readonly dataset: PackedDataset;
  readonly place: Exclude<HiddenStatePlace, 'recompute'>;
  /** File for `disk`. Reuses an existing file of the same model and rows. */
  readonly folder?: string;
  readonly compile?: CompileOptions;
}

/** Rows of a run of a model: 4096 tokens, at least one row. Fixed, so that a row has the same bits in every run. */
export function rowsAtOnce(length: number): number {
  return Math.max(1, Math.floor(4096 / length));
}

const fileName = 'hidden-states.safetensors';

/**
 * Runs the model over all rows: their hidden states as a feature named `hidden`. Rows run in groups fixed by their numbers, so
 * that a row's numbers are the same bits whenever they are computed.
 * @throws LinnetError `CONFIG` for `disk` without a folder, `ABORTED` when the signal fires between two groups
 */
export async function computeHiddenStates(options: HiddenStateOptions): Promise<KeptFeature> {
  const { dataset, model, place, folder } = options;
  const shape = [dataset.length, model.sizes.width];
  if (place === 'memory') {
    const rows: Float32Array[] = [];
    for await (const row of hiddenRows(options)) rows.push(row.slice());
    return {
      name: 'hidden',
      shape,
      copyRow(row, target) {
        target.set(rows[row]);
        return Promise.resolve();
      },
      remove: () => Promise.resolve(),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  }
  if (folder === undefined) throw new LinnetError('CONFIG', 'hidden states on disk need a folder');
  await makeFolder(folder);
  const path = join(folder, fileName);
  const identity = sha256(JSON.stringify(['hidden states 1', options.fingerprint, dataset.fingerprint()]));
  const file = (await openMatching(path, identity)) ?? (await writeStates(path, identity, options));
  return {
    name: 'hidden',
    shape,
    async copyRow(row, target) {
      target.set((await file.readFloat32(String(row))).data);
    },
    async remove() {
      await file.close();
      await remove(path);
    },
    [Symbol.asyncDispose]: () => file.close(),
  };
}

/** The file, if it is whole and of the same model and rows. */
async function openMatching(path: string, identity: string): Promise<SafetensorsFile | undefined> {
  let file: SafetensorsFile;
  try {
    file = await openSafetensors(path);
  } catch (error) {
    if (error instanceof LinnetError) return undefined;
    throw error;
  }
  if (file.metadata.get('identity') === identity) return file;
  await file.close();
  return undefined;
}

async function writeStates(path: string, identity: string, options: HiddenStateOptions): Promise<SafetensorsFile> {
  const { dataset, model } = options;
  const rows = hiddenRows(options);
  const entries = Array.from({ length: dataset.rows }, (_, row) => ({
    name: String(row),
    dtype: 'F32' as const,
    shape: [dataset.length, model.sizes.width],
    data: async () => (await rows.next()).value ?? new Float32Array(0), // asked for in this order
  }));
  await writeSafetensors(path, entries, { identity }).finally(() => rows.return(undefined));
  return await openSafetensors(path);
}

/** Hidden states [n,width] of all rows in their order, each a view until the next is asked for; a group of rows per run. */
async function* hiddenRows(options: HiddenStateOptions): AsyncGenerator<Float32Array, undefined> {
  const { model, parameters, dataset, signal, onProgress } = options;
  const { length, rows } = dataset;
  const atOnce = Math.max(1, Math.min(rows, rowsAtOnce(length)));
  const graph = new Graph('hidden states');
  const read = graph.input('tokens', 'int32', [atOnce, length]);
  graph.output('hidden', parallelHidden(model, new WeightParameters(graph, parameters), read)); // [B,n,width]
  await using program = await compile(graph, options.compile);
  const size = length * model.sizes.width;
  for (let first = 0; first < rows; first += atOnce) {
    requireRunning(signal, 'while computing hidden states');
    const tokens = new Int32Array(atOnce * length);
    const last = Math.min(rows, first + atOnce);
    for (let row = first; row < last; row++) tokens.set(dataset.row(row).inputs, (row - first) * length);
    const { hidden } = await program.run({ tokens: int32([atOnce, length], tokens) }, ['hidden']);
    const states = dataOf(hidden, 'float32');
    onProgress?.(last, rows);
    for (let row = 0; row < last - first; row++) yield states.subarray(row * size, (row + 1) * size);
  }
}
