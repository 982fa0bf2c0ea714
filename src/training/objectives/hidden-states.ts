/**
 * Hidden states of a frozen model, computed once per row of a data set and read back in every epoch: in memory where
 * they fit, else in a file. A row's numbers are `length`·width floats.
 */
import { mkdir, rm } from 'node:fs/promises';
import { freemem } from 'node:os';
import { join } from 'node:path';
import { openSafetensors, type SafetensorsFile } from '../../checkpoint/safetensors/reader.ts';
import { writeSafetensors } from '../../checkpoint/safetensors/writer.ts';
import type { PackedDataset } from '../../data/datasets/packing.ts';
import { LinnetError, requireRunning } from '../../errors.ts';
import { Graph } from '../../graph/graph.ts';
import { dataOf, type Tensor, tensor } from '../../graph/tensor.ts';
import type { CausalModel } from '../../models/model.ts';
import { parallelHidden } from '../../models/graphs/parallel-graph.ts';
import { WeightParameters } from '../../nn/parameters.ts';
import { compile, type CompileOptions, type Program } from '../../runtime/compile.ts';
import type { KeptFeature } from '../updates.ts';
import { sha256 } from '../../files/digest.ts';

export const hiddenStatePlaces = ['memory', 'disk', 'recompute'] as const;

/** Where hidden states wait: `recompute` keeps none and runs the model in every optimizer step. */
export type HiddenStatePlace = (typeof hiddenStatePlaces)[number];

/**
 * Where hidden states are best kept. Rows that are read at most once each gain nothing from it. Otherwise reading
 * back beats running the model, from memory as from disk; memory is used while they fill at most a quarter of the free part.
 *
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

export interface HiddenStateOptions {
  readonly model: CausalModel;
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** SHA-256 of the model: a file of another model is not read. */
  readonly fingerprint: string;
  readonly dataset: PackedDataset;
  readonly place: Exclude<HiddenStatePlace, 'recompute'>;
  /** Where the file goes, for `disk`. A file of the same model and rows that is there already is used. */
  readonly folder?: string;
  readonly compile?: CompileOptions;
  readonly signal?: AbortSignal;
  readonly onProgress?: (rows: number, total: number) => void;
}

/** Tokens that one run of the model works on, at least one row. */
const runTokens = 4096;
const fileName = 'hidden-states.safetensors';

/**
 * Runs the model over all rows: their hidden states as a feature named `hidden`. Rows run in groups fixed by their numbers, so that a row's numbers are the same bits
 * whenever they are computed.
 * @throws LinnetError `CONFIG` for `disk` without a folder, `ABORTED` when the signal fires between two groups
 */
export async function computeHiddenStates(options: HiddenStateOptions): Promise<KeptFeature> {
  return await places[options.place](options);
}

const places = { memory: statesInMemory, disk: statesOnDisk } as const;

async function statesInMemory(options: HiddenStateOptions): Promise<KeptFeature> {
  const { dataset, model } = options;
  const size = dataset.length * model.sizes.width;
  const rows: Float32Array[] = [];
  await using runner = await RowRunner.create(options);
  for (let row = 0; row < dataset.rows; row++) rows.push((await runner.row(row)).slice());
  return {
    name: 'hidden',
    shape: [dataset.length, model.sizes.width],
    copyRow(row, target) {
      if (target.length !== size) throw new LinnetError('SHAPE', `a row has ${size} numbers, not ${target.length}`);
      target.set(rows[row]);
      return Promise.resolve();
    },
    remove: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function statesOnDisk(options: HiddenStateOptions): Promise<KeptFeature> {
  const { dataset, model, folder } = options;
  if (folder === undefined) throw new LinnetError('CONFIG', 'hidden states on disk need a folder');
  await mkdir(folder, { recursive: true });
  const path = join(folder, fileName);
  const identity = sha256(JSON.stringify(['hidden states 1', options.fingerprint, dataset.fingerprint()]));
  const shape = [dataset.length, model.sizes.width];
  const file = (await openMatching(path, identity)) ?? (await writeStates(path, identity, options));
  return {
    name: 'hidden',
    shape,
    async copyRow(row, target) {
      target.set((await file.readFloat32(String(row))).data);
    },
    async remove() {
      await file.close();
      await rm(path, { force: true });
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
  await using runner = await RowRunner.create(options);
  const entries = Array.from({ length: dataset.rows }, (_, row) => ({
    name: String(row),
    dtype: 'F32' as const,
    shape: [dataset.length, model.sizes.width],
    data: () => runner.row(row),
  }));
  await writeSafetensors(path, entries, { identity });
  return await openSafetensors(path);
}

/** Gives hidden states of rows in ascending order, a group of rows per run. */
class RowRunner implements AsyncDisposable {
  readonly #options: HiddenStateOptions;
  readonly #program: Program;
  readonly #rows: number;
  #group = -1;
  #states: Float32Array = new Float32Array(0);

  private constructor(options: HiddenStateOptions, program: Program, rows: number) {
    this.#options = options;
    this.#program = program;
    this.#rows = rows;
  }

  static async create(options: HiddenStateOptions): Promise<RowRunner> {
    const { model, parameters, dataset } = options;
    const rows = Math.max(1, Math.min(dataset.rows, Math.floor(runTokens / dataset.length)));
    const graph = new Graph('hidden states');
    const tokens = graph.input('tokens', 'int32', [rows, dataset.length]);
    graph.output('hidden', parallelHidden(model, new WeightParameters(graph, parameters), tokens)); // [B,n,width]
    return new RowRunner(options, await compile(graph, options.compile), rows);
  }

  /** Hidden states [n,width] of a row, a view until the next group runs. */
  async row(row: number): Promise<Float32Array> {
    const group = Math.floor(row / this.#rows);
    if (group !== this.#group) await this.#run(group);
    const size = this.#options.dataset.length * this.#options.model.sizes.width;
    const place = row - group * this.#rows;
    return this.#states.subarray(place * size, (place + 1) * size);
  }

  async #run(group: number): Promise<void> {
    const { dataset, signal, onProgress } = this.#options;
    requireRunning(signal, 'while computing hidden states');
    const { length } = dataset;
    const tokens = new Int32Array(this.#rows * length);
    const first = group * this.#rows;
    const last = Math.min(dataset.rows, first + this.#rows);
    for (let row = first; row < last; row++) tokens.set(dataset.row(row).inputs, (row - first) * length);
    const { hidden } = await this.#program.run({ tokens: tensor('int32', [this.#rows, length], tokens) }, ['hidden']);
    this.#states = dataOf(hidden, 'float32');
    this.#group = group;
    onProgress?.(last, dataset.rows);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program.dispose();
  }
}
