/**
 * Medusa heads in a model folder: `medusa.safetensors` holds the parameters, `medusa.json` their description, the model they
 * were trained for, and their candidate tree. Making a folder from another copies neither file (they are not in
 * `COMPANION_FILES`): heads draft only for the model whose hidden states they learned. An export is the same model: it stores
 * the heads in its own form (`src/export/export-model.ts`).
 */
import { resolve } from 'node:path';
import { z } from 'zod';
import { ifFound, LinnetError } from '../errors.ts';
import { parseJsonObject } from '../files/json-object.ts';
import { share, whole } from '../files/schema-values.ts';
import { validated } from '../files/schema-problems.ts';
import type { Tensor, Weights } from '../graph/tensor.ts';
import { type MedusaConfig, medusaLimits, medusaParameters } from '../models/medusa/medusa.ts';
import type { ModelDescription } from '../models/model.ts';
import { requireFinite } from './finite.ts';
import { writeFileAtomic } from '../files/atomic.ts';
import { assertTensors } from './huggingface.ts';
import { readParameters } from './load-model.ts';
import { checkMedusaTree, maximumRank, medusaTreeSchema } from './medusa-trees.ts';
import { entriesOf, readInFolder } from '../files/regular-file.ts';
import { openSafetensorsIn } from './safetensors/reader.ts';
import { writeSafetensors } from './safetensors/writer.ts';

export const MEDUSA_FILE = 'medusa.json';
export const MEDUSA_WEIGHTS_FILE = 'medusa.safetensors';

/** Largest medusa.json read. */
const maximumBytes = 1 << 20;

const descriptionSchema = z.strictObject({
  format: z.literal('linnet-medusa'),
  version: z.literal(1),
  heads: whole(1, medusaLimits.heads),
  layers: whole(1, medusaLimits.layers),
  /** The model's fingerprint: configuration and weights. */
  base: z.string().regex(/^[0-9a-f]{64}$/),
  /** Share of held-out tokens among each head's 1, 2, … most likely tokens [H][k]. */
  accuracy: z.array(z.array(share).max(64)).max(medusaLimits.heads).optional(),
  /** Earlier versions wrote it; not read. */
  acceptance: z
    .array(z.array(share).max(maximumRank + 1))
    .max(medusaLimits.heads)
    .optional(),
  tree: medusaTreeSchema.optional(),
});

type Description = z.infer<typeof descriptionSchema>;

/** Accuracy and candidate tree, stored next to the parameters. */
export type MedusaNotes = Pick<Description, 'accuracy' | 'tree'>;

/** A folder's heads, in memory. */
export interface StoredMedusa extends MedusaNotes {
  readonly config: MedusaConfig;
  readonly parameters: Weights;
}

/**
 * Whether a folder holds Medusa heads, valid or not.
 * @example
 * ```ts
 * if (await hasMedusaHeads('runs/augmented')) console.log('drafts');
 * ```
 */
export async function hasMedusaHeads(folder: string): Promise<boolean> {
  const entries = (await ifFound(entriesOf(folder))) ?? [];
  return entries.some(({ name }) => name === MEDUSA_FILE);
}

/** A folder's model, with the fingerprint of its configuration and weights. */
interface MedusaBase {
  readonly model: Pick<ModelDescription, 'sizes'>;
  readonly fingerprint: string;
}

/**
 * Reads a folder's heads.
 * @throws LinnetError like `openMedusaHeads`
 * @example
 * ```ts
 * const { model, fingerprint } = await loadCausalModel('runs/augmented');
 * const { config, parameters } = await loadMedusaHeads('runs/augmented', { model, fingerprint });
 * ```
 */
export async function loadMedusaHeads(folder: string, base: MedusaBase): Promise<StoredMedusa> {
  await using heads = await openMedusaHeads(folder, base);
  const { config, accuracy, tree } = heads;
  return { config, parameters: await readParameters(heads), accuracy, tree };
}

/** A folder's heads, parameters read one by one. Dispose of them. */
export interface MedusaWeights extends MedusaNotes, AsyncDisposable {
  readonly config: MedusaConfig;
  /** Parameters, in head order. */
  readonly names: readonly string[];
  /** A parameter in float32, read from the file at every call. */
  read(name: string): Promise<Tensor<'float32'>>;
}

/**
 * Opens a folder's heads and checks their description; reads no parameter.
 * @throws LinnetError `NOT_FOUND` if there are none; `MISMATCH` if they were trained for another model; `FORMAT` for
 *   malformed files and impossible trees; `TENSOR` for missing, surplus or misshapen parameters; `PATH` like `openInFolder`
 * @example
 * ```ts
 * const heads = await openMedusaHeads(folder, base);
 * ```
 */
export async function openMedusaHeads(folder: string, base: MedusaBase): Promise<MedusaWeights> {
  const { config, base: trainedFor, ...notes } = await describeMedusaHeads(folder);
  const { tree } = notes;
  const source = resolve(folder, MEDUSA_FILE);
  if (trainedFor !== base.fingerprint) {
    throw new LinnetError(
      'MISMATCH',
      `${source} belongs to another model than ${resolve(folder)} (trained for ${trainedFor.slice(0, 12)}…, ` +
        `found ${base.fingerprint.slice(0, 12)}…); train heads for this model, or remove them`,
    );
  }
  const { vocabulary } = base.model.sizes;
  if (tree !== undefined) checkMedusaTree(tree.paths, config.heads, vocabulary, source);
  const file = await openSafetensorsIn(folder, MEDUSA_WEIGHTS_FILE);
  try {
    if (file.metadata.get('base') !== trainedFor) {
      throw new LinnetError(
        'MISMATCH',
        `${file.source} and ${MEDUSA_FILE} next to it come from different runs; train again`,
      );
    }
    const shapes = medusaParameters(config, base.model.sizes);
    const infos = new Map(file.names().map((name) => [name, file.info(name)]));
    assertTensors({ path: file.source, tensors: infos }, shapes);
    return {
      config,
      ...notes,
      names: [...shapes.keys()],
      read: async (name) => requireFinite(await file.readFloat32(name), name, file.source),
      [Symbol.asyncDispose]: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/**
 * medusa.json's content; reads no parameters. `base` is the fingerprint of the model they were trained for.
 * @throws LinnetError `NOT_FOUND` if there are none; `FORMAT` for a malformed medusa.json
 */
export async function describeMedusaHeads(
  folder: string,
): Promise<MedusaNotes & { readonly config: MedusaConfig; readonly base: string }> {
  const { heads, layers, format: _, version: __, acceptance: ___, ...notes } = await readDescription(folder);
  return { config: { heads, layers }, ...notes };
}

/**
 * Writes heads into a model folder, the description last, so that a folder never describes missing heads. The heads' `base`
 * is the folder's model's fingerprint.
 * @throws LinnetError `FORMAT` for notes that could not be read back; `PATH` or `NOT_FOUND` from the file system
 * @example
 * ```ts
 * declare const heads: Parameters<typeof saveMedusaHeads>[1];
 * await saveMedusaHeads('runs/augmented', heads);
 * ```
 */
export async function saveMedusaHeads(
  folder: string,
  saved: StoredMedusa & { readonly base: string; readonly dtype?: 'F32' | 'F16' | 'BF16' },
): Promise<void> {
  const { config, parameters, base, dtype = 'F32', ...notes } = saved;
  const { heads, layers } = config;
  const description = checkedDescription(
    { format: 'linnet-medusa', version: 1, heads, layers, base, ...notes },
    folder,
  );
  const entries = [...parameters].map(([name, { shape, data }]) => ({ name, dtype, shape, data }));
  await writeSafetensors(resolve(folder, MEDUSA_WEIGHTS_FILE), entries, { format: 'pt', base });
  await writeFileAtomic(resolve(folder, MEDUSA_FILE), `${JSON.stringify(description)}\n`);
}

async function readDescription(folder: string): Promise<Description> {
  const bytes = await ifFound(readInFolder(folder, MEDUSA_FILE, maximumBytes));
  if (bytes === undefined) {
    const advice = 'make them with "linnet medusa train"';
    throw new LinnetError('NOT_FOUND', `${resolve(folder)} has no Medusa heads (${MEDUSA_FILE}); ${advice}`);
  }
  return checkedDescription(parseJsonObject(bytes, resolve(folder, MEDUSA_FILE), { uniqueKeys: true }), folder);
}

function checkedDescription(value: unknown, folder: string): Description {
  return validated(
    descriptionSchema,
    value,
    'FORMAT',
    `${resolve(folder, MEDUSA_FILE)} does not describe Medusa heads`,
  );
}
