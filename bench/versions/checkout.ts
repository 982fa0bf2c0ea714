/** A checkout of this repository, opened by its files: this one, or an older one with other file locations. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type * as Tree from '../../src/attention/tree.ts';
import type * as LoadModel from '../../src/checkpoint/load-model.ts';
import type * as Engine from '../../src/decoding/engine.ts';
import type { StepEngine } from '../../src/decoding/step-engine.ts';
import type * as DecodingSpeed from '../../src/evaluation/speed/decoding-speed.ts';
import type * as TrainingSpeed from '../training/training-speed.ts';
import type * as Families from '../../src/models/index.ts';
import type * as Open from '../../src/open/index.ts';

/** The measured modules of a checkout. */
export interface Checkout {
  readonly folder: string;
  /** Commit, and whether files differ from it. */
  readonly commit: string;
  readonly tree: typeof Tree;
  readonly loadModel: typeof LoadModel;
  readonly engine: typeof Engine;
  readonly open: typeof Open;
  readonly families: typeof Families;
  readonly decodingSpeed: typeof DecodingSpeed;
  readonly trainingSpeed: typeof TrainingSpeed;
}

export async function openCheckout(folder: string): Promise<Checkout> {
  // The types are this checkout's; another one's exports are known only when used.
  const part = (...candidates: string[]): Promise<never> => {
    const paths = candidates.map((file) => resolve(folder, file.startsWith('bench/') ? '' : 'src', file));
    return import(pathToFileURL(paths.find((path) => existsSync(path)) ?? paths[0]).href) as Promise<never>;
  };
  return {
    folder: resolve(folder),
    commit: commitOf(folder),
    tree: await part('attention/tree.ts'),
    loadModel: await part('checkpoint/load-model.ts'),
    engine: await part('decoding/engine.ts', 'engine/engine.ts'),
    open: await part('open/index.ts'),
    families: await part('models/index.ts', 'models/families.ts'),
    decodingSpeed: await part('evaluation/speed/decoding-speed.ts'),
    trainingSpeed: await part('bench/training/training-speed.ts', 'evaluation/speed/training-speed.ts'),
  };
}

function commitOf(folder: string): string {
  try {
    return execFileSync('git', ['-C', folder, 'describe', '--always', '--dirty=+', '--abbrev=7'], {
      encoding: 'utf8',
    }).trim();
  } catch {
    return 'no commit';
  }
}

/** Threads of every measured engine. */
export const threads = 2;

export function isExport(folder: string): boolean {
  return existsSync(join(folder, 'linnet.json'));
}

/** The engine of an exported folder or a checkpoint. */
export async function openEngine({ open, loadModel, engine }: Checkout, folder: string): Promise<StepEngine> {
  if (isExport(folder)) return (await open.open(folder, { threads })).engine();
  const { model, parameters } = await loadModel.loadCausalModel(folder);
  return engine.DecodingEngine.create(model, parameters, { threads });
}

/** A model's type and shape, for a table heading. */
export function describeModel(folder: string, name = folder): string {
  const config: unknown = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
  const field = (name: string): string =>
    typeof config === 'object' && config !== null && name in config ? String(Reflect.get(config, name)) : '?';
  const dtype = isExport(folder)
    ? `export ${/"dtype":\s*"(\w+)"/.exec(readFileSync(join(folder, 'linnet.json'), 'utf8'))?.[1]}`
    : 'checkpoint';
  return `${name}: ${dtype}, ${field('model_type')}, ${field('num_hidden_layers')} layers, width ${field('hidden_size')}, vocabulary ${field('vocab_size')}`;
}
