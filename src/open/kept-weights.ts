/**
 * Matrices of large checkpoints in fewer bits, kept in `~/.cache/linnet/weights` for later starts: encoded tensor by tensor into an
 * export, whose files the engine maps. Its producer names the files of the checkpoint, which are not read again, and the fingerprint.
 */
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { openModelWeights } from '../checkpoint/load-model.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import { reasonOf } from '../errors.ts';
import { assembleEngine } from '../export/assemble.ts';
import { exportModel } from '../export/export-model.ts';
import type { ExportManifest } from '../export/manifest.ts';
import { sha256 } from '../files/digest.ts';
import { lockFolder } from '../files/folder-lock.ts';
import { findTemporaryFiles, removeThose } from '../files/temporary-files.ts';
import type { GeneratingModel } from '../models/model.ts';
import { parameterCount } from '../nn/parameters.ts';
import type { WeightReader } from '../quantization/weight-reader.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import { folderFiles } from './folder-files.ts';
import { readExport } from './model-files.ts';

/** Parameters from which on weights are kept. */
const leastKept = 2 ** 31;
/** Checkpoints and types that are kept; those written first go. */
const mostKept = 8;

/** Types whose encoding takes minutes. */
export const keptTypes = ['int4', 'w8a8'] as const;
type KeptType = (typeof keptTypes)[number];

/** The kept weights of a checkpoint, or their place. */
export interface KeptWeights {
  /** Of the checkpoint, where its weights are kept already. */
  readonly fingerprint?: string;
  /** The engine of the model, after its weights have been written if need be; undefined where they cannot be. */
  engine(model: GeneratingModel, weights: WeightReader, fingerprint: string): Promise<StepEngine | undefined>;
}

/**
 * Where the weights of a checkpoint are kept in a type; undefined for a small one, and one that generates nothing.
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
  const state = sha256(JSON.stringify([version, model.toJson()])).slice(0, 32);
  const files = folderFiles(kept, compile);
  const readKept = async (): Promise<ExportManifest | undefined> => {
    // Damaged files, and those of another version of Linnet, are written again.
    const exported = await readExport(files).catch(() => undefined);
    return exported?.manifest.producer.startsWith(`${state} `) === true ? exported.manifest : undefined;
  };
  return {
    fingerprint: (await readKept())?.producer.slice(state.length + 1),
    async engine(described, weights, identity) {
      let manifest = await readKept();
      try {
        if (manifest === undefined) {
          await mkdir(folderOfAll, { recursive: true, mode: 0o700 });
          await using _lock = await lockFolder(folderOfAll);
          manifest = await readKept(); // another process may have written it
          if (manifest === undefined) {
            await makeRoom(folderOfAll, kept);
            process.stderr.write(`linnet: keeping ${path} as ${dtype} in ${kept}\n`);
            manifest = await exportModel(kept, { model: described, weights, dtype, producer: `${state} ${identity}` });
          }
        }
      } catch (error) {
        // Faults of the weights themselves come again.
        process.stderr.write(
          `linnet: ${path} is not kept as ${dtype}, and encoded at each start: ${reasonOf(error)}\n`,
        );
        return undefined;
      }
      return await assembleEngine(files.graphs(manifest), manifest, described);
    },
  };
}

/** Removes the leftovers of killed processes, an earlier state of `kept`, and the oldest of too many others. */
async function makeRoom(folder: string, kept: string): Promise<void> {
  await removeThose(await findTemporaryFiles(folder));
  await rm(kept, { recursive: true, force: true });
  const entries = await readdir(folder, { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name));
  const others = await Promise.all(folders.map(async (path) => ({ path, made: (await stat(path)).mtimeMs })));
  for (const { path } of others.sort((a, b) => b.made - a.made).slice(mostKept - 1))
    await rm(path, { recursive: true });
}
