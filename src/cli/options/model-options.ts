/** Arguments and options about models: the folders that are read and written, their mixers and the storage of their weights. */
import type { z } from 'zod';
import { flag, required, withDefault, optional } from '../framework/command.ts';
import { modelHere } from '../../open/model-names.ts';
import { called, choice, folderPath, path, type ValueKind, numberChoice } from '../framework/option-values.ts';
import { mixerPresetNames } from '../../attention/presets.ts';
import { hasBlocks, type StorageType } from '../../export/manifest.ts';
import { type BlockSize, blockSizes } from '../../graph/ops/quantized.ts';
import { UsageError } from '../framework/exit-codes.ts';

/** A local model: its folder, `linnet:tiny-llama` or its hub name (`modelHere`). */
export const modelFolder: ValueKind<string> = {
  ...folderPath,
  schema: folderPath.schema.transform((value) => modelHere(value)),
};

/** An argument: the folder of `what`, such as "the model". */
export const folderOf = (what: string): z.ZodType<string, string> =>
  required(modelFolder, `${what}: a folder or a .gguf file`);

/** An argument: a model as `open` takes it. `fetchedModel` gets it if it is not here. */
export const modelNamed = required(
  called('model', path),
  'the model, exported or not: a folder, a .gguf file, or a hub name (owner/name) or URL, which is fetched first',
);

/** The option `--out` for `what`. */
export const folderFor = (what: string): z.ZodType<string, string> => required(folderPath, `where ${what} goes`);

export const replaceOption = flag('replace the folder if it exists and Linnet wrote it');

export const checkpointTypeOption = withDefault(
  choice(['F32', 'F16', 'BF16'], 'type'),
  'F32',
  'element type of the saved weights: F32, F16 or BF16',
);

/** The option `--mixer` of commands that create a model. */
export const mixerNameOption = withDefault(choice(mixerPresetNames()), 'augmented', mixerPresetNames().join(', '));

export const blockOption = optional(
  numberChoice(blockSizes),
  `weights per scale of int4, also in mixed: ${blockSizes.join(', ')}; larger blocks make a model smaller and ` +
    `faster to decode, but round its weights more (default: 32; 64 from three billion parameters)`,
);

/** @throws UsageError for a block size of a type without blocks */
export function requireBlocks(dtype: StorageType, block: BlockSize | undefined): void {
  if (block === undefined || hasBlocks(dtype)) return;
  throw new UsageError(`--block needs --dtype int4 or mixed, not ${dtype}`);
}
