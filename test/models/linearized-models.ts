/** Folders of one tiny LLaMA as it is, and linearized by the command line. */
import { join } from 'node:path';
import { beforeAll } from 'vitest';
import { runJson } from '../cli/captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { saveTinyModel } from './tiny-model.ts';

export interface LinearizedModels {
  /** Where the models lie, under the names below; the tests may write into it. */
  readonly folder: string;
  /** Softmax attention in both layers. */
  readonly base: string;
  /** Groups of 4 and 5 taps, in both layers. */
  readonly augmented: string;
  /** The same in the second layer alone. */
  readonly hybrid: string;
  /** With a convolution that reads the future. */
  readonly leaking: string;
}

/** Models for the tests of the file that calls this; they are there from its `beforeAll` on. */
export function linearizedModels(): LinearizedModels {
  const folder = suiteFolder();
  const [base, augmented, hybrid, leaking] = ['base', 'augmented', 'hybrid', 'leaking'].map((name) =>
    join(folder, name),
  );
  beforeAll(async () => {
    await saveTinyModel(base);
    const sizes = ['--group', '4', '--kernel', '5'];
    await runJson('linearize', base, '--mixer', 'augmented', ...sizes, '--out', augmented);
    await runJson('linearize', base, '--mixer', 'augmented', ...sizes, '--layers', '1', '--out', hybrid);
    await runJson('linearize', base, '--mixer', 'local+conv', ...sizes, '--unmasked', '--out', leaking);
  });
  return { folder, base, augmented, hybrid, leaking };
}
