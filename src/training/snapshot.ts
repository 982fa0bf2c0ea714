/**
 * Snapshots of a run: everything that the next optimizer step depends on, in one safetensors file, written under a temporary
 * name and renamed, with the SHA-256 of all that it holds. A run that was killed at any moment continues from its newest
 * whole snapshot, and ends with the weights of an uninterrupted run, bit for bit.
 */
import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { openSafetensors } from '../checkpoint/safetensors/reader.ts';
import type { TensorEntry } from '../checkpoint/safetensors/encoding.ts';
import { writeSafetensors } from '../checkpoint/safetensors/writer.ts';
import type { BatchCursor } from '../data/rows/batches.ts';
import { LinnetError } from '../errors.ts';
import { jsonIn } from '../files/json-object.ts';
import { whole } from '../files/schema-values.ts';
import { systemErrorCode } from '../files/regular-file.ts';
import { type AnyTensor, type Tensor, tensor, tensorBytes } from '../graph/tensor.ts';
import type { Evaluation } from './held-out.ts';
import type { ParameterBlock } from './parameter-blocks.ts';
import { stateParts, type TrainingState } from './step-program.ts';
import { remove } from '../files/remove.ts';

/** Fields of a snapshot next to the tensors. */
export interface SnapshotPosition {
  /** Optimizer steps done. */
  readonly update: number;
  /** Where the data is. */
  readonly cursor: BatchCursor;
  /** Tokens seen so far. */
  readonly tokens: number;
  /** The loss of every optimizer step so far. */
  readonly losses: readonly number[];
  /** Measurements on held-out data so far. */
  readonly evaluations?: readonly Evaluation[];
}

const formatName = 'linnet-snapshot';
/** 2: with the losses, and the hash. */
const formatVersion = 2;
/** The newest, and one to fall back to if that one is damaged on disk. */
const keptSnapshots = 2;
const fileName = /^update-(\d{9})\.safetensors$/;

const positionSchema = z.strictObject({
  format: z.literal(formatName),
  version: z.literal(formatVersion),
  update: whole(1),
  cursor: z.strictObject({ epoch: whole(), index: whole(), seed: z.int() }),
  tokens: whole(),
  identity: z.string(),
  sha256: z.string(),
});
type Described = z.output<typeof positionSchema>;

const lossesName = 'losses';
/** Update and loss of every measurement [n,2]; absent if there was none. */
const evaluationsName = 'evaluations';

/**
 * Writes a snapshot and removes the ones before the previous one.
 * @param identity the run's settings, model and data; `readSnapshot` refuses another
 */
export async function writeSnapshot(
  folder: string,
  position: SnapshotPosition,
  state: TrainingState,
  identity: string,
): Promise<void> {
  const { losses, evaluations = [], ...counts } = position;
  const numbers = Float64Array.from(evaluations.flatMap(({ update, loss }) => [update, loss]));
  const measured = tensor('float64', [evaluations.length, 2], numbers);
  const tensors = new Map<string, AnyTensor>([
    [lossesName, tensor('float64', [losses.length], Float64Array.from(losses))],
    ...(evaluations.length === 0 ? [] : [[evaluationsName, measured] as const]),
    ...stateParts.flatMap((part) => [...state[part]].map(([name, value]) => [`${part} ${name}`, value] as const)),
  ]);
  const entries = [...tensors].map(([name, { shape, data }]): TensorEntry => {
    return { name, dtype: [lossesName, evaluationsName].includes(name) ? 'F64' : 'F32', shape, data };
  });
  const content = { format: formatName, version: formatVersion, ...counts, identity } as const;
  const described: Described = { ...content, sha256: contentHash(content, tensors) };
  const name = `update-${String(position.update).padStart(9, '0')}.safetensors`;
  await writeSafetensors(join(folder, name), entries, { snapshot: JSON.stringify(described) });
  for (const old of (await snapshotFiles(folder)).slice(keptSnapshots)) await remove(join(folder, old));
}

async function snapshotFiles(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  });
  return names
    .filter((name) => fileName.test(name))
    .sort()
    .reverse();
}

interface TrainingSnapshot {
  readonly position: SnapshotPosition;
  readonly state: TrainingState;
}

/**
 * The newest whole snapshot, or undefined if there is none. Skips damaged ones.
 * @throws LinnetError `MISMATCH` if the snapshot belongs to a run of another model, other data or other settings;
 *   `FORMAT` if there are snapshots but none is readable
 */
export async function readSnapshot(
  folder: string,
  blocks: readonly ParameterBlock[],
  identity: string,
): Promise<TrainingSnapshot | undefined> {
  let damage: unknown;
  for (const name of await snapshotFiles(folder)) {
    try {
      return await readOne(join(folder, name), blocks, identity);
    } catch (error) {
      if (!(error instanceof LinnetError) || error.code === 'MISMATCH') throw error;
      damage = error;
    }
  }
  if (damage !== undefined) {
    throw new LinnetError('FORMAT', `no snapshot in ${folder} is readable; start the run over`, { cause: damage });
  }
  return undefined;
}

async function readOne(path: string, blocks: readonly ParameterBlock[], identity: string): Promise<TrainingSnapshot> {
  await using file = await openSafetensors(path);
  const described = positionSchema.safeParse(jsonIn(file.metadata.get('snapshot')));
  if (!described.success) throw new LinnetError('FORMAT', `${path} is not a snapshot of version ${formatVersion}`);
  const { sha256, ...content } = described.data;
  const tensors = new Map<string, AnyTensor>();
  for (const name of file.names()) tensors.set(name, await file.read(name));
  if (contentHash(content, tensors) !== sha256) {
    throw new LinnetError('FORMAT', `${path} is damaged: its SHA-256 does not match its content`);
  }
  const { update, cursor, tokens } = content;
  if (content.identity !== identity) {
    throw new LinnetError(
      'MISMATCH',
      `${path} belongs to a run with another model, data or settings; resume with the original ones`,
    );
  }
  const state: TrainingState = { parameters: new Map(), first: new Map(), second: new Map() };
  for (const part of stateParts) {
    for (const { name, shape } of blocks) state[part].set(name, block(tensors, `${part} ${name}`, shape, path));
  }
  const losses = tensors.get(lossesName);
  if (losses?.dtype !== 'float64' || losses.data.length !== update) {
    throw new LinnetError('FORMAT', `${path} does not hold the losses of ${update} updates`);
  }
  const measured = tensors.get(evaluationsName)?.data ?? [];
  const evaluations = Array.from({ length: measured.length / 2 }, (_, i) => ({
    update: Number(measured[2 * i]),
    loss: Number(measured[2 * i + 1]),
  }));
  return { position: { update, cursor, tokens, losses: [...losses.data], evaluations }, state };
}

/** SHA-256 of a snapshot's fields, then of each tensor's name, shape and bytes, in the order of the file. */
function contentHash(content: Omit<Described, 'sha256'>, tensors: ReadonlyMap<string, AnyTensor>): string {
  const { format, version, update, cursor, tokens, identity } = content;
  const { epoch, index, seed } = cursor;
  const hash = createHash('sha256');
  hash.update(JSON.stringify([format, version, update, epoch, index, seed, tokens, identity]));
  for (const [name, value] of tensors) hash.update(JSON.stringify([name, value.shape])).update(tensorBytes(value));
  return hash.digest('hex');
}

function block(
  tensors: ReadonlyMap<string, AnyTensor>,
  name: string,
  shape: readonly number[],
  path: string,
): Tensor<'float32'> {
  const found = tensors.get(name);
  if (found?.dtype === 'float32' && String(found.shape) === String(shape)) return found;
  const given = found === undefined ? 'missing' : `${found.dtype} [${found.shape.join(',')}]`;
  throw new LinnetError('FORMAT', `${path}: "${name}" is ${given}, expected float32 [${shape.join(',')}]`);
}
