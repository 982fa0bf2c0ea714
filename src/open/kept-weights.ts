/**
 * Matrices of large checkpoints in fewer bits, kept in `~/.cache/linnet/weights` for later starts: encoded tensor by tensor into an
 * export, whose files the engine maps, with the state of the checkpoint, which is not read again, and its fingerprint.
 */
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { openModelWeights } from '../checkpoint/load-model.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError, reasonOf } from '../errors.ts';
import { assembleEngine } from '../export/assemble.ts';
import { exportModel } from '../export/export-model.ts';
import { writeFileAtomic } from '../files/atomic.ts';
import { sha256 } from '../files/digest.ts';
import { lockFolder } from '../files/folder-lock.ts';
import { readInFolder } from '../files/regular-file.ts';
import { findTemporaryFiles, removeThose } from '../files/temporary-files.ts';
import type { GeneratingModel } from '../models/model.ts';
import { parameterCount } from '../nn/parameters.ts';
import { blockForSize } from '../quantization/sources.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import { folderFiles } from './folder-files.ts';
import { readExport } from './model-files.ts';
import { remove } from '../files/remove.ts';

/** Parameters from which on weights are kept. */
const leastKept = 2 ** 31;
/** Maximum number of kept checkpoints and types; the oldest go first. */
const mostKept = 8;

/** Types whose encoding takes minutes. */
export const keptTypes = ['int4', 'w8a8'] as const;
type KeptType = (typeof keptTypes)[number];

/** The kept weights of a checkpoint. */
export interface KeptWeights {
  /** The checkpoint's fingerprint. */
  readonly fingerprint: string;
  /** The engine of the checkpoint's model. @throws LinnetError `FORMAT` for graphs from another version of Linnet, which are removed */
  engine(model: GeneratingModel): Promise<StepEngine>;
}

/** Names the state of the checkpoint that was encoded, and its fingerprint. */
const checkpointFile = 'checkpoint';

/**
 * The weights of a checkpoint that are kept in a type, written first if need be, while the checkpoint is hashed; undefined for a small
 * one, one that generates nothing, and where they cannot be kept.
 * @param options.cache default `~/.cache/linnet`
 */
export async function keptWeights(
  folder: string,
  dtype: KeptType,
  compile: CompileOptions,
  {
    cache = join(homedir(), '.cache/linnet'),
    least = leastKept,
  }: { readonly cache?: string; readonly least?: number } = {},
): Promise<KeptWeights | undefined> {
  await using checkpoint = await openModelWeights(folder);
  const { model, version, path } = checkpoint;
  if (model.kind === 'encoder' || parameterCount(model.parameters) < least) return undefined;
  const folderOfAll = join(cache, 'weights');
  const kept = join(folderOfAll, sha256(JSON.stringify([path, dtype])).slice(0, 32));
  const block = dtype === 'int4' ? blockForSize(model.parameters) : undefined;
  const state = sha256(JSON.stringify([version, model.toJson(), block])).slice(0, 32);
  const files = folderFiles(kept, compile);
  const stored = async (fingerprint: string): Promise<KeptWeights> => {
    const { manifest } = await readExport(files);
    const engine = async (described: GeneratingModel): Promise<StepEngine> => {
      try {
        return await assembleEngine(files.graphs(manifest), manifest, described);
      } catch (error) {
        if (!(error instanceof LinnetError && error.code === 'FORMAT')) throw error;
        await remove(kept);
        const message = `the weights in ${kept} came from another version of Linnet and were removed; start again to encode them`;
        throw new LinnetError('FORMAT', message, { cause: error });
      }
    };
    return { fingerprint, engine };
  };
  const read = async (): Promise<KeptWeights | undefined> => {
    try {
      const [encoded, fingerprint] = (await readInFolder(kept, checkpointFile, 1024, 'own')).toString().split(' ');
      return encoded === state ? await stored(fingerprint) : undefined;
    } catch {
      return undefined; // damaged files and files from another version of Linnet are written again
    }
  };
  const written = await read();
  if (written !== undefined) return written;
  try {
    await mkdir(folderOfAll, { recursive: true, mode: 0o700 });
    await using _lock = await lockFolder(folderOfAll);
    const other = await read(); // written by another process
    if (other !== undefined) return other;
    await makeRoom(folderOfAll, kept);
    process.stderr.write(`linnet: keeping ${path} as ${dtype} in ${kept}\n`);
    const exporting = exportModel(kept, { model, weights: checkpoint, dtype, block });
    const [fingerprint] = await Promise.all([checkpoint.fingerprint(), exporting]);
    await writeFileAtomic(join(kept, checkpointFile), `${state} ${fingerprint}`);
    return await stored(fingerprint);
  } catch (error) {
    // Faults of the weights themselves come again.
    process.stderr.write(`linnet: ${path} is not cached as ${dtype}, so encoded at each start: ${reasonOf(error)}\n`);
    return undefined;
  }
}

/** Removes the leftovers of killed processes, an earlier state of `kept`, and the oldest of too many others. */
async function makeRoom(folder: string, kept: string): Promise<void> {
  await removeThose(await findTemporaryFiles(folder));
  await remove(kept);
  const entries = await readdir(folder, { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name));
  const others = await Promise.all(folders.map(async (path) => ({ path, made: (await stat(path)).mtimeMs })));
  for (const { path } of others.sort((a, b) => b.made - a.made).slice(mostKept - 1))
    await rm(path, { recursive: true });
}
