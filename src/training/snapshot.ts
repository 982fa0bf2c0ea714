/**
 * Snapshots of a run: everything that the next update depends on, in one safetensors file, written under a temporary
 * name and renamed. A run that was killed at any moment continues from its newest whole snapshot, and ends with the
 * weights of an unbroken run, bit for bit.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { openSafetensors } from '../checkpoint/safetensors/reader.ts';
import { type TensorEntry, writeSafetensors } from '../checkpoint/safetensors/writer.ts';
import type { BatchCursor } from '../data/batches.ts';
import { LinnetError } from '../errors.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { ParameterBlock } from './parameter-blocks.ts';
import type { TrainingState } from './step-program.ts';

/** What a snapshot says beside the tensors. */
export interface SnapshotPosition {
  /** Updates done. */
  readonly update: number;
  /** Where the data stands. */
  readonly cursor: BatchCursor;
  /** Tokens seen so far. */
  readonly tokens: number;
}

const formatName = 'linnet-snapshot';
const formatVersion = 1;
/** The newest, and one to fall back to if that one is damaged on disk. */
const keptSnapshots = 2;
const fileName = /^update-(\d{9})\.safetensors$/;

const positionSchema = z.strictObject({
  format: z.literal(formatName),
  version: z.literal(formatVersion),
  update: z.int().min(1),
  cursor: z.strictObject({ epoch: z.int().min(0), index: z.int().min(0), seed: z.int() }),
  tokens: z.int().min(0),
  identity: z.string(),
});

const parts = ['parameters', 'first', 'second'] as const;

/**
 * Writes a snapshot and removes the ones before the previous one.
 *
 * @param identity what the run is of: settings, model and data; `readSnapshot` refuses another
 */
export async function writeSnapshot(
  folder: string,
  position: SnapshotPosition,
  state: TrainingState,
  identity: string,
): Promise<void> {
  const entries: TensorEntry[] = parts.flatMap((part) =>
    [...state[part]].map(
      ([name, { shape, data }]): TensorEntry => ({ name: `${part} ${name}`, dtype: 'F32', shape, data }),
    ),
  );
  const described = { format: formatName, version: formatVersion, ...position, identity };
  const name = `update-${String(position.update).padStart(9, '0')}.safetensors`;
  await writeSafetensors(join(folder, name), entries, { snapshot: JSON.stringify(described) });
  for (const old of (await snapshotFiles(folder)).slice(keptSnapshots)) await rm(join(folder, old), { force: true });
}

/** Snapshot files, newest first. */
async function snapshotFiles(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  });
  return names
    .filter((name) => fileName.test(name))
    .sort()
    .reverse();
}

/**
 * The newest whole snapshot, or undefined if there is none. A damaged one is passed over for the one before it.
 *
 * @throws LinnetError `MISMATCH` if the snapshot belongs to a run of another model, other data or other settings;
 *   `FORMAT` if there are snapshots but none is readable
 */
export async function readSnapshot(
  folder: string,
  blocks: readonly ParameterBlock[],
  identity: string,
): Promise<{ position: SnapshotPosition; state: TrainingState } | undefined> {
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
    throw new LinnetError('FORMAT', `no snapshot in ${folder} is readable; begin the run anew`, { cause: damage });
  }
  return undefined;
}

async function readOne(
  path: string,
  blocks: readonly ParameterBlock[],
  identity: string,
): Promise<{ position: SnapshotPosition; state: TrainingState }> {
  const file = await openSafetensors(path);
  try {
    const described = positionSchema.safeParse(parseJson(file.metadata.get('snapshot')));
    if (!described.success) throw new LinnetError('FORMAT', `${path} is not a snapshot of version ${formatVersion}`);
    const { update, cursor, tokens } = described.data;
    if (described.data.identity !== identity) {
      throw new LinnetError(
        'MISMATCH',
        `${path} belongs to a run with another model, other data or other settings; resume with what it began with`,
      );
    }
    const state: TrainingState = { parameters: new Map(), first: new Map(), second: new Map() };
    for (const part of parts) {
      for (const { name, shape } of blocks)
        state[part].set(name, await readBlock(file, `${part} ${name}`, shape, path));
    }
    return { position: { update, cursor, tokens }, state };
  } finally {
    await file.close();
  }
}

async function readBlock(
  file: Awaited<ReturnType<typeof openSafetensors>>,
  name: string,
  shape: readonly number[],
  path: string,
): Promise<Tensor<'float32'>> {
  const found = await file.readFloat32(name);
  if (String(found.shape) === String(shape)) return found;
  throw new LinnetError('FORMAT', `${path}: "${name}" is [${found.shape.join(',')}], expected [${shape.join(',')}]`);
}

function parseJson(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
