/** Arguments and options about the folders that commands read and write. */
import type { z } from 'zod';
import { flag, required, withDefault } from '../framework/command.ts';
import { modelHere } from '../../open/model-names.ts';
import { called, choice, folderPath, path, type ValueKind } from '../framework/option-values.ts';

/** A model that is here, by its folder, `linnet:tiny-llama` or a name of the hub (`modelHere`). */
export const modelFolder: ValueKind<string> = {
  ...folderPath,
  schema: folderPath.schema.transform((given) => modelHere(given)),
};

/** An argument: the folder of `what`, such as "the model". */
export const folderOf = (what: string): z.ZodType<string, string> => required(modelFolder, `folder of ${what}`);

/** An argument: a model as `open` takes it. `fetchedModel` gets it if it is not here. */
export const modelNamed = (what: string): z.ZodType<string, string> =>
  required(
    called('model', path),
    `${what}: a folder, or a name of the hub (owner/name) or URL, which is fetched first`,
  );

/** The option `--out`, where `what` goes. */
export const folderFor = (what: string): z.ZodType<string, string> => required(folderPath, `where ${what} goes`);

export const replaceOption = flag('replace the folder if it exists and Linnet wrote it');

export const checkpointTypeOption = withDefault(
  choice(['F32', 'F16', 'BF16'], 'type'),
  'F32',
  'element type of the saved weights: F32, F16 or BF16',
);
