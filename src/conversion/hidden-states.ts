/**
 * Hidden states of text rows before one layer of a model, in a file: row by row, [n,width] in float32. The next layer's file
 * follows from it and one layer's weights: a large model's other weights stay out of memory.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { openSafetensors, type SafetensorsFile } from '../checkpoint/safetensors/reader.ts';
import { writeSafetensors } from '../checkpoint/safetensors/writer.ts';
import { segmentWeights } from '../checkpoint/stored-parameter.ts';
import type { PackedDataset } from '../data/datasets/packing.ts';
import { fingerprint } from '../data/rows/fingerprint.ts';
import type { RowDataset } from '../data/rows/row-dataset.ts';
import { LinnetError, requireRunning, type Watched } from '../errors.ts';
import { jsonIn } from '../files/json-object.ts';
import { whole } from '../files/schema-values.ts';
import { validated } from '../files/schema-problems.ts';
import { type GraphCost, graphCost } from '../graph/cost.ts';
import { Graph, type Value } from '../graph/graph.ts';
import { dataOf, float32, int32, type Tensor } from '../graph/tensor.ts';
import { constantPositions, parallelMix, parallelMixing } from '../models/graphs/parallel-graph.ts';
import type { CausalModel } from '../models/model.ts';
import { InputParameters, type ParameterSource } from '../nn/parameters.ts';
import { compile, type NamedTensors } from '../runtime/compile.ts';
import { runSegments, SegmentedProgram, WeightMemory } from '../runtime/segmented-program.ts';
import { rowsAtOnce } from '../training/objectives/hidden-states.ts';
import { runsLean } from '../training/step-cost.ts';
import type { RowFeature, TrainingJob } from '../training/trainer.ts';
import type { Weighted } from './stages.ts';

const metadataKey = 'hidden';
/** The input that a layer's objective reads. */
export const hiddenInput = 'hidden';

const schema = z
  .strictObject({
    version: z.literal(1),
    /** SHA-256 of the text and of all weights applied to the rows. */
    identity: z.string(),
    /** Tokens per row, n. */
    length: whole(1),
    width: whole(1),
    /** Tokens that count per row; the others are padding. */
    counts: z.array(whole()).min(1),
  })
  .refine(({ length, counts }) => counts.every((count) => count <= length), 'counts more tokens than a row has');
type Description = z.infer<typeof schema>;

/** How to pass all rows through a layer; reports progress after every engine run. A stopped pass leaves no file. */
export interface PassOptions extends Watched, Pick<TrainingJob, 'compile'> {}

/** A data set's first `rows` rows. @param origin the model's identity, such as its checkpoint's fingerprint */
export interface EmbeddedRows {
  readonly dataset: PackedDataset;
  readonly rows: number;
  readonly origin: string;
}

/** The identity of hidden states before the first layer. */
export function embeddingIdentity({ dataset, rows, origin }: EmbeddedRows): string {
  const described = { version: 3, origin, rows, data: dataset.fingerprint() };
  return createHash('sha256').update(JSON.stringify(described)).digest('hex');
}

/** Writes hidden states before the first layer. @returns the numbers' SHA-256 */
export async function embedRows(
  weights: Weighted,
  given: EmbeddedRows,
  path: string,
  options: PassOptions = {},
): Promise<string> {
  const { model } = weights;
  const { dataset, rows } = given;
  const { length } = dataset;
  const description: Description = {
    version: 1,
    identity: embeddingIdentity(given),
    length,
    width: model.sizes.width,
    counts: [...dataset.counts.subarray(0, rows)].map((count) => count - 1),
  };
  const pass: Pass = {
    build: (graph, source, B) =>
      model.embed(source, graph.input('tokens', 'int32', [B, length]), constantPositions(model, graph, B, length)),
    feeds(first, last, B) {
      const tokens = new Int32Array(B * length);
      for (let row = first; row < last; row++) tokens.set(dataset.row(row).inputs, (row - first) * length);
      return Promise.resolve({ tokens: int32([B, length], tokens) });
    },
  };
  return await writePass(weights, description, pass, path, options);
}

/** Writes hidden states after a layer, from those before it. @returns the numbers' SHA-256 */
export async function passLayer(
  weights: Weighted,
  layer: number,
  from: HiddenFile,
  { path, identity }: { readonly path: string; readonly identity: string },
  options: PassOptions = {},
): Promise<string> {
  const { length, width, counts } = from.description;
  const pass: Pass = {
    build: (graph, source, B) => layerAfter(weights.model, layer, graph, source, [B, length]),
    async feeds(first, last, B) {
      const data = new Float32Array(B * length * width);
      const feature = from.feature(first);
      for (let row = 0; row < last - first; row++) {
        await feature.copyRow(row, data.subarray(row * length * width, (row + 1) * length * width));
      }
      return { [hiddenInput]: float32([B, length, width], data) };
    },
  };
  const description: Description = { version: 1, identity, length, width, counts };
  return await writePass(weights, description, pass, path, options);
}

/** The cost of one run of a layer, over as many rows of `length` tokens as it takes at once. */
export function passCost(model: CausalModel, layer: number, length: number): GraphCost & { readonly rows: number } {
  const graph = new Graph('hidden states');
  const rows = rowsAtOnce(length);
  graph.output('after', layerAfter(model, layer, graph, new InputParameters(graph), [rows, length]));
  return { ...graphCost(graph), rows };
}

/** Hidden states [B,n,width] after a layer; its input are those before it. */
function layerAfter(
  model: CausalModel,
  layer: number,
  graph: Graph,
  source: ParameterSource,
  [B, n]: readonly [number, number],
): Value {
  const hidden = graph.input(hiddenInput, 'float32', [B, n, model.sizes.width]);
  const mixing = parallelMixing(parallelMix(model, source));
  return model.layer(source, layer, hidden, constantPositions(model, graph, B, n), mixing);
}

/** One run over rows `first` to `last`−1, at most B. */
interface Pass {
  readonly build: (graph: Graph, source: ParameterSource, B: number) => Value;
  readonly feeds: (first: number, last: number, B: number) => Promise<NamedTensors>;
}

async function writePass(
  { model, parameters }: Weighted,
  description: Description,
  { build, feeds }: Pass,
  path: string,
  { compile: compileOptions, signal, onProgress }: PassOptions,
): Promise<string> {
  const { length, width, counts } = description;
  const rows = counts.length;
  const B = Math.min(rows, rowsAtOnce(length));
  const weights = segmentWeights(parameters);
  const graph = new Graph('hidden states');
  graph.output('after', build(graph, new InputParameters(graph), B)); // [B,n,width]
  const lean = runsLean(model.parameters, compileOptions?.device);
  await using program = await SegmentedProgram.create(graph, weights, (part) =>
    compile(part, { ...compileOptions, lean }),
  );
  const memory = new WeightMemory(weights);
  const hash = createHash('sha256');
  let after: Float32Array = new Float32Array(0);
  const rowOf = async (row: number): Promise<Float32Array> => {
    if (row % B === 0) {
      requireRunning(signal, 'while hidden states were computed');
      const last = Math.min(rows, row + B);
      const [results] = await runSegments([{ program, feeds: await feeds(row, last, B) }], memory);
      after = dataOf(results.after, 'float32');
      onProgress?.(last, rows);
    }
    const own = after.subarray((row % B) * length * width, ((row % B) + 1) * length * width);
    hash.update(own);
    return own;
  };
  const entries = counts.map((_, row) => ({
    name: String(row),
    dtype: 'F32' as const,
    shape: [length, width],
    data: () => rowOf(row), // requested in this order
  }));
  await writeSafetensors(path, entries, { [metadataKey]: JSON.stringify(description) });
  return hash.digest('hex');
}

/** A file of hidden states, open. Dispose of it. */
export type HiddenFile = Awaited<ReturnType<typeof openHiddenFile>>;

/** @throws LinnetError `NOT_FOUND` without the file, `FORMAT` for another file or a damaged one */
export async function openHiddenFile(path: string) {
  const file = await openSafetensors(path);
  const description = await describedRows(file, path).catch(async (error: unknown) => {
    await file.close();
    throw error;
  });
  const { identity, length, width, counts } = description;
  /** One row, [n,width]. @throws LinnetError `NOT_FOUND` for a row that is not in the file */
  const read = (row: number): Promise<Tensor<'float32'>> => file.readFloat32(String(row));
  return {
    description,
    identity,
    rows: counts.length,
    read,
    /** SHA-256 of all rows' numbers. */
    async hash(): Promise<string> {
      const hash = createHash('sha256');
      for (const row of counts.keys()) hash.update((await read(row)).data);
      return hash.digest('hex');
    },
    /** Rows from `first` up to, not including, `last`: their batches hold token weights, and no hidden states. */
    dataset: (first: number, last: number): RowDataset => ({
      rows: last - first,
      length,
      inputs: { weights: { dtype: 'float32', shape: [length] } },
      batch(visits) {
        const weights = new Float32Array(visits.length * length);
        visits.forEach(({ row }, place) => weights.fill(1, place * length, place * length + counts[first + row]));
        return { weights: float32([visits.length, length], weights) };
      },
      fingerprint: () => fingerprint({ identity, first, last }, []),
    }),
    /** The hidden states of the rows of `dataset(first, …)`. */
    feature: (first: number): RowFeature => ({
      name: hiddenInput,
      shape: [length, width],
      copyRow: async (row, target) => target.set((await read(first + row)).data),
    }),
    [Symbol.asyncDispose]: () => file.close(),
  };
}

/** A file's description. @throws LinnetError `FORMAT` if it is damaged, and like `requireRows` */
async function describedRows(file: SafetensorsFile, path: string): Promise<Description> {
  const described = jsonIn(file.metadata.get(metadataKey));
  const description = validated(schema, described, 'FORMAT', `${path} is damaged; write it again`);
  requireRows(file, description, path);
  return description;
}

/** @throws LinnetError `FORMAT` if a row is missing, or differs in size from the description */
function requireRows(file: SafetensorsFile, { counts, length, width }: Description, path: string): void {
  const names = new Set(file.names());
  for (let row = 0; row < counts.length; row++) {
    const shape = names.has(String(row)) ? file.info(String(row)).shape : [];
    if (shape.length === 2 && shape[0] === length && shape[1] === width) continue;
    const found = shape.length === 0 ? 'missing' : shape.join(' × ');
    throw new LinnetError(
      'FORMAT',
      `${path}: row ${row} is ${found}, expected ${length} × ${width}; write the file again`,
    );
  }
}
