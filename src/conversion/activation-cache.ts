/**
 * Inputs and outputs of a teacher's attention layers, in one file: the teacher runs once over some rows of text, and every
 * layer of the student can then be trained by itself, in any order, by any process, without the teacher.
 *
 * A row of a layer is [n, width]: q, k, v and the teacher's mixed values, heads side by side.
 */
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { mixParallel } from '../attention/mixers.ts';
import { openSafetensors, type SafetensorsFile } from '../checkpoint/safetensors/reader.ts';
import { writeSafetensors } from '../checkpoint/safetensors/writer.ts';
import { fingerprint } from '../data/rows/fingerprint.ts';
import type { PackedDataset } from '../data/datasets/packing.ts';
import type { RowDataset } from '../data/rows/row-dataset.ts';
import { LinnetError } from '../errors.ts';
import { validated } from '../files/schema-problems.ts';
import { Graph, type Value } from '../graph/graph.ts';
import { concat, reshape, split } from '../graph/ops/layout.ts';
import { dataOf, float32, int32, type Tensor } from '../graph/tensor.ts';
import type { CausalModel } from '../models/model.ts';
import { constantPositions, mixerParameterValues, shiftedByOne } from '../models/graphs/parallel-graph.ts';
import { WeightParameters } from '../nn/parameters.ts';
import { compile, type CompileOptions, type Program } from '../runtime/compile.ts';
import type { RowFeature } from '../training/trainer.ts';
import type { Weighted } from './stages.ts';

const fileName = 'activations.safetensors';
const metadataKey = 'activations';
/** Tokens that one run of the teacher works on, and bytes of activations that it gives, at least one row. */
const runTokens = 4096;
const runBytes = 2 ** 28;
/** The input that a layer's objective reads. */
export const activationsInput = 'activations';

const parts = ['q', 'k', 'v', 'mixed'] as const;
type Part = (typeof parts)[number];
const headsSchema = z.tuple([z.int().min(1), z.int().min(1)]);

const schema = z.strictObject({
  version: z.literal(1),
  /** SHA-256 of the teacher, the rows and the layers. */
  identity: z.string(),
  /** Tokens per row, n. */
  length: z.int().min(1),
  /** Of every row, the tokens that count; the others are padding. */
  counts: z.array(z.int().min(0)).min(1),
  layers: z.array(z.int().min(0)),
  /** Heads and their width. */
  heads: z.strictObject({ q: headsSchema, k: headsSchema, v: headsSchema, mixed: headsSchema }),
});
type Description = z.infer<typeof schema>;

/** Options of `cacheActivations`. */
export interface ActivationCacheOptions {
  /** Layers to keep; default all. */
  readonly layers?: readonly number[];
  /** Rows to keep, from the first; default all. */
  readonly rows?: number;
  /** Identity of the teacher, such as the fingerprint of its checkpoint. */
  readonly origin: string;
  /** Threads and device. Default: all cores of the CPU. */
  readonly compile?: CompileOptions;
  /** Stops the work, with an error `ABORTED`. */
  readonly signal?: AbortSignal;
  /** Called after every batch of rows. */
  readonly onProgress?: (rows: number, total: number) => void;
}

/** Bytes of one row of one layer in the file. */
export function activationRowBytes({ sizes }: CausalModel, length: number): number {
  const { heads, keyValueHeads, headWidth } = sizes;
  return 4 * length * 2 * (heads + keyValueHeads) * headWidth;
}

/**
 * Runs a teacher over rows of text, once, and writes its layers' inputs and outputs into a folder. A whole file of the same
 * teacher, rows and layers that is there already is kept.
 * @throws LinnetError `ABORTED` when the signal fires between two runs; the folder is then as it was before
 * @example
 * await cacheActivations(teacher, dataset, 'runs/activations', { origin: 'models/llama', rows: 64 });
 */
export async function cacheActivations(
  teacher: Weighted,
  dataset: PackedDataset,
  folder: string,
  options: ActivationCacheOptions,
): Promise<void> {
  const { model } = teacher;
  const layers = [...(options.layers ?? model.mixers.keys())];
  const rows = Math.min(options.rows ?? dataset.rows, dataset.rows);
  const counts = [...dataset.counts.subarray(0, rows)].map((count) => count - 1);
  const described = { version: 1, origin: options.origin, layers, rows, data: dataset.fingerprint() };
  const identity = createHash('sha256').update(JSON.stringify(described)).digest('hex');
  if ((await existingIdentity(folder)) === identity) return;
  await mkdir(folder, { recursive: true });
  await using reader = await TeacherReader.create(teacher, dataset, layers, rows, options);
  const entries = [];
  for (let first = 0; first < rows; first += reader.rowsPerRun) {
    for (const layer of layers) {
      for (let row = first; row < Math.min(rows, first + reader.rowsPerRun); row++) {
        entries.push({
          name: rowName(layer, row),
          dtype: 'F32' as const,
          shape: [dataset.length, reader.width],
          data: () => reader.row(layer, row),
        });
      }
    }
  }
  const description: Description = {
    ...{ version: 1, identity, length: dataset.length, counts, layers },
    heads: reader.heads,
  };
  await writeSafetensors(join(folder, fileName), entries, { [metadataKey]: JSON.stringify(description) });
}

function rowName(layer: number, row: number): string {
  return `${layer}.${row}`;
}

/** The identity of a whole file in the folder. */
async function existingIdentity(folder: string): Promise<string | undefined> {
  try {
    await using activations = await LayerActivations.open(folder);
    return activations.identity;
  } catch (error) {
    if (error instanceof LinnetError) return undefined;
    throw error;
  }
}

/** Runs a teacher over groups of rows, in ascending order. */
class TeacherReader implements AsyncDisposable {
  readonly rowsPerRun: number;
  readonly heads: Description['heads'];
  readonly width: number;
  readonly #program: Program;
  readonly #dataset: PackedDataset;
  readonly #options: ActivationCacheOptions;
  readonly #total: number;
  #group = -1;
  #layers = new Map<number, Float32Array>();

  private constructor(
    program: Program,
    dataset: PackedDataset,
    heads: Description['heads'],
    { rowsPerRun, total }: { rowsPerRun: number; total: number },
    options: ActivationCacheOptions,
  ) {
    this.#program = program;
    this.#dataset = dataset;
    this.#options = options;
    this.#total = total;
    this.heads = heads;
    this.rowsPerRun = rowsPerRun;
    this.width = parts.reduce((sum, part) => sum + heads[part][0] * heads[part][1], 0);
  }

  static async create(
    teacher: Weighted,
    dataset: PackedDataset,
    layers: readonly number[],
    total: number,
    options: ActivationCacheOptions,
  ): Promise<TeacherReader> {
    const rowBytes = layers.length * activationRowBytes(teacher.model, dataset.length);
    const fitting = Math.min(runTokens / dataset.length, runBytes / rowBytes);
    const rowsPerRun = Math.max(1, Math.min(total, Math.floor(fitting)));
    const { graph, heads } = readingGraph(teacher, layers, rowsPerRun, dataset.length);
    return new TeacherReader(await compile(graph, options.compile), dataset, heads, { rowsPerRun, total }, options);
  }

  /** A row of a layer [n,width], a view until the next rows are read. */
  async row(layer: number, row: number): Promise<Float32Array> {
    const group = Math.floor(row / this.rowsPerRun);
    if (group !== this.#group) await this.#run(group);
    const size = this.#dataset.length * this.width;
    const place = row - group * this.rowsPerRun;
    const all = this.#layers.get(layer);
    if (all === undefined) throw new LinnetError('INTERNAL', `internal: layer ${layer} is not read`);
    return all.subarray(place * size, (place + 1) * size);
  }

  async #run(group: number): Promise<void> {
    const { signal, onProgress } = this.#options;
    if (signal?.aborted === true) throw new LinnetError('ABORTED', 'stopped while the teacher was read');
    const { length } = this.#dataset;
    const tokens = new Int32Array(this.rowsPerRun * length);
    const first = group * this.rowsPerRun;
    const last = Math.min(this.#total, first + this.rowsPerRun);
    for (let row = first; row < last; row++) tokens.set(this.#dataset.row(row).inputs, (row - first) * length);
    const names = [...this.#program.outputs.keys()];
    const results = await this.#program.run({ tokens: int32([this.rowsPerRun, length], tokens) }, names);
    this.#layers = new Map(names.map((name) => [Number(name), dataOf(results[name], 'float32')]));
    this.#group = group;
    onProgress?.(last, this.#total);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program.dispose();
  }
}

/** Tokens [B,n] → of every layer [B,n,width]; outputs are named by the layer. */
function readingGraph(
  { model, parameters }: Weighted,
  layers: readonly number[],
  B: number,
  n: number,
): { graph: Graph; heads: Description['heads'] } {
  const graph = new Graph('activations');
  const source = new WeightParameters(graph, parameters);
  const tokens = graph.input('tokens', 'int32', [B, n]);
  let heads: Description['heads'] | undefined;
  model.backbone(source, tokens, constantPositions(model, graph, B, n), {
    shift: (_, features) => shiftedByOne(features),
    mix(layer, projected, scoring) {
      const own = mixerParameterValues(model, source, layer);
      const mixed = mixParallel(model.mixers[layer], projected, own, scoring);
      const values: Record<Part, Value> = { q: projected.q, k: projected.k, v: projected.v, mixed };
      const flat = parts.map((part) => {
        const [, , H, D] = values[part].shape.map(Number);
        return reshape(values[part], [B, n, H * D]);
      });
      heads = { q: headsOf(values.q), k: headsOf(values.k), v: headsOf(values.v), mixed: headsOf(mixed) };
      if (layers.includes(layer)) graph.output(String(layer), concat(flat, 2)); // [B,n,width]
      return mixed;
    },
  });
  if (heads === undefined) throw new LinnetError('INPUT', 'a model without layers has no activations');
  return { graph, heads };
}

function headsOf({ shape }: Value): [number, number] {
  return [Number(shape[2]), Number(shape[3])];
}

/** A file of activations, open. Dispose of it. */
export class LayerActivations implements AsyncDisposable {
  readonly #file: SafetensorsFile;
  readonly #description: Description;

  private constructor(file: SafetensorsFile, description: Description) {
    this.#file = file;
    this.#description = description;
  }

  /** @throws LinnetError `NOT_FOUND` without the file, `FORMAT` for another or a damaged one */
  static async open(folder: string): Promise<LayerActivations> {
    const path = join(folder, fileName);
    const file = await openSafetensors(path);
    try {
      return new LayerActivations(file, describedBy(file.metadata.get(metadataKey), path));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get identity(): string {
    return this.#description.identity;
  }

  get layers(): readonly number[] {
    return this.#description.layers;
  }

  get rows(): number {
    return this.#description.counts.length;
  }

  /** Rows from `first` up to but excluding `last`: their batches hold weights, and no activations. */
  dataset(first: number, last: number): RowDataset {
    const { identity, length, counts } = this.#description;
    return {
      ...{ rows: last - first, length, inputs: { weights: { dtype: 'float32', shape: [length] } } },
      batch(visits) {
        const weights = new Float32Array(visits.length * length);
        visits.forEach(({ row }, place) => weights.fill(1, place * length, place * length + counts[first + row]));
        return { weights: float32([visits.length, length], weights) };
      },
      fingerprint: () => fingerprint({ identity, first, last }, []),
    };
  }

  /** The activations of a layer, as the rows of `dataset(first, …)` have them. */
  feature(layer: number, first: number): RowFeature {
    const { length } = this.#description;
    return {
      ...{ name: activationsInput, shape: [length, this.#width] },
      copyRow: async (row, target) => {
        target.set((await this.read(layer, first + row)).data);
      },
    };
  }

  /** One row of a layer, [n,width]. @throws LinnetError `TENSOR` for a layer or row that is not in the file */
  read(layer: number, row: number): Promise<Tensor<'float32'>> {
    return this.#file.readFloat32(rowName(layer, row));
  }

  /** Activations [B,n,width] → q [B,n,H,D], k [B,n,M,D], v [B,n,M,E] and mixed [B,n,H,E]. */
  split(activations: Value): Record<Part, Value> {
    const { heads } = this.#description;
    const [B, n] = activations.shape.map(Number);
    const pieces = split(
      activations,
      2,
      parts.map((part) => heads[part][0] * heads[part][1]),
    );
    const [q, k, v, mixed] = parts.map((part, i) => reshape(pieces[i], [B, n, ...heads[part]]));
    return { q, k, v, mixed };
  }

  get #width(): number {
    const { heads } = this.#description;
    return parts.reduce((sum, part) => sum + heads[part][0] * heads[part][1], 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

function describedBy(text: string | undefined, path: string): Description {
  let value: unknown;
  try {
    value = JSON.parse(text ?? '');
  } catch {
    throw new LinnetError('FORMAT', `${path} does not say what activations it holds; write it anew`);
  }
  return validated(schema, value, 'FORMAT', `${path} is damaged; write it anew`);
}
