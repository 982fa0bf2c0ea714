/**
 * Matrices of large checkpoints in fewer bits, kept in `~/.cache/linnet` for later starts: encoded tensor by tensor into an export,
 * whose files the engine maps. A checkpoint is known by the identity of its files, and is not read again.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { openModelWeights } from '../checkpoint/load-model.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import { assembleEngine } from '../export/assemble.ts';
import { exportModel } from '../export/export-model.ts';
import { manifestVersion } from '../export/manifest.ts';
import { writeFileAtomic } from '../files/atomic.ts';
import { sha256 } from '../files/digest.ts';
import type { GeneratingModel } from '../models/model.ts';
import { parameterCount } from '../nn/parameters.ts';
import type { WeightReader } from '../quantization/weight-reader.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import { folderFiles } from './folder-files.ts';
import { readExport } from './model-files.ts';

/** Parameters from which on weights are kept. */
const leastKept = 2 ** 31;

/** Types whose encoding takes minutes. */
export const keptTypes = ['int4', 'w8a8'] as const;
type KeptType = (typeof keptTypes)[number];

/** The kept weights of a checkpoint, or their place. */
export interface KeptWeights {
  /** Of the checkpoint, where its weights are kept already. */
  readonly fingerprint?: string;
  /** The engine of the model, after its weights have been written if need be; undefined where the disk has no room for them. */
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
  const name = sha256(JSON.stringify([manifestVersion, path, version, model.toJson(), dtype])).slice(0, 32);
  const kept = join(cache, `weights--${name}`);
  const fingerprintFile = `${kept}.fingerprint`;
  const isKept = existsSync(kept) && existsSync(fingerprintFile);
  const fingerprint = isKept ? await readFile(fingerprintFile, 'utf8') : undefined;
  return {
    fingerprint,
    async engine(own, weights, identity) {
      if (!existsSync(kept)) {
        try {
          await mkdir(cache, { recursive: true });
          process.stderr.write(`linnet: keeping ${path} as ${dtype} in ${kept}\n`);
          await exportModel(kept, { model: own, weights, dtype });
        } catch {
          return undefined; // faults of the weights themselves come again
        }
      }
      const files = folderFiles(kept, compile);
      const { manifest } = await readExport(files);
      const engine = await assembleEngine(files.graphs(manifest), manifest, own);
      if (fingerprint === undefined) await writeFileAtomic(fingerprintFile, identity);
      return engine;
    },
  };
}
