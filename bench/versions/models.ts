/** The models for both checkouts: folders, or exports that each checkout writes for itself. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { type Checkout, describeModel, isExport } from './checkout.ts';

/** One model, with the folder for each version. */
export interface MeasuredModel {
  readonly description: string;
  readonly folders: readonly [string, string];
}

/** Arguments of `linnet` that write a model in a type: `tinyllama-1.1b` is a `synth` shape. */
function writing(model: string, dtype: string): readonly string[] {
  const block = dtype === 'int4' || dtype === 'mixed' ? ['--block', '128'] : [];
  const source = model.startsWith('like:')
    ? ['synth', '--like', model.slice('like:'.length)]
    : ['export', resolve(model)];
  return [...source, '--dtype', dtype, ...block];
}

/** Calls `measure` with each model on the command line, then deletes the written files. */
export async function withModels(
  checkouts: readonly [Checkout, Checkout],
  given: readonly string[],
  dtypes: readonly string[],
  measure: (model: MeasuredModel) => Promise<void>,
): Promise<void> {
  for (const model of given) {
    const written = model.startsWith('like:') || (dtypes.length > 0 && !isExport(model.split(',')[0]));
    if (!written) {
      const [before, now = before] = model.split(',');
      await measure({ description: describeModel(now), folders: [before, now] });
      continue;
    }
    for (const dtype of dtypes) {
      const folder = await mkdtemp(join(tmpdir(), 'linnet-versions-'));
      try {
        const folders = [join(folder, 'before'), join(folder, 'now')] as const;
        for (const [which, { folder: checkout }] of checkouts.entries()) {
          const command = [
            join(checkout, 'src/cli/main.ts'),
            ...writing(model, dtype),
            '--out',
            folders[which],
            '--quiet',
          ];
          await promisify(execFile)(process.execPath, ['--import', 'tsx', ...command]);
        }
        await measure({ description: describeModel(folders[1], model), folders });
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    }
  }
}
