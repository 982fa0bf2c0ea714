/**
 * Medusa heads in a model folder: `medusa.safetensors` holds the parameters, `medusa.json` says what they are, for
 * which model they were trained, and which candidate tree suits them. Neither file travels when a folder is made from
 * another (they are not in `COMPANION_FILES`): heads draft for the one model whose hidden states they learned.
 */
import { readdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { z } from 'zod';
import { treeFromPaths } from '../attention/tree.ts';
import { LinnetError } from '../errors.ts';
import type { Tensor } from '../graph/tensor.ts';
import { type MedusaConfig, medusaLimits, medusaParameters } from '../models/medusa.ts';
import type { CausalModel } from '../models/model.ts';
import { writeFileAtomic } from './atomic.ts';
import { assertTensors } from './huggingface.ts';
import { parseJsonObject } from './json-object.ts';
import { fileError, openInFolder, readInFolder, systemErrorCode } from './regular-file.ts';
import { readSafetensors } from './safetensors.ts';
import { writeSafetensors } from './safetensors-writer.ts';

export const MEDUSA_FILE = 'medusa.json';
export const MEDUSA_WEIGHTS_FILE = 'medusa.safetensors';

/** Largest medusa.json that is read. */
const maximumBytes = 1 << 20;
/** More nodes than a step can verify with profit, on any machine known. */
const maximumNodes = 1023;
const maximumRank = 255;

const fraction = z.number().min(0).max(1);

export const medusaTreeSchema = z.strictObject({
  /** Rank paths without the root; prefixes of a path are in the list. */
  paths: z
    .array(z.array(z.int().min(0).max(maximumRank)).min(1).max(medusaLimits.heads))
    .min(1)
    .max(maximumNodes),
  /** How the tree was found. */
  method: z.enum(['stock', 'greedy', 'dynamic', 'observed', 'given']),
  /** Tokens per step that calibration promises, the root included. */
  expectedLength: z.number().min(1).optional(),
  /** Its gain over sequential decoding by that length and the step times of the machine it was tuned on. */
  expectedSpeedup: z.number().positive().optional(),
});

const descriptionSchema = z.strictObject({
  format: z.literal('linnet-medusa'),
  version: z.literal(1),
  heads: z.int().min(1).max(medusaLimits.heads),
  layers: z.int().min(1).max(medusaLimits.layers),
  /** Fingerprint of the model: configuration and weights. */
  base: z.string().regex(/^[0-9a-f]{64}$/),
  /** Share of held-out tokens among each head's most likely 1, 2, … tokens [H][k]. */
  accuracy: z.array(z.array(fraction).max(64)).max(medusaLimits.heads).optional(),
  /** Share of calibration tokens at each rank of each head [H][rank]. */
  acceptance: z
    .array(z.array(fraction).max(maximumRank + 1))
    .max(medusaLimits.heads)
    .optional(),
  tree: medusaTreeSchema.optional(),
});

type Description = z.infer<typeof descriptionSchema>;

/** A candidate tree as stored. */
export type MedusaTree = z.infer<typeof medusaTreeSchema>;

/** What is stored beside the parameters. */
export type MedusaNotes = Pick<Description, 'accuracy' | 'acceptance' | 'tree'>;

/** Heads of a folder, in memory. */
export interface StoredMedusa extends MedusaNotes {
  readonly config: MedusaConfig;
  readonly parameters: Map<string, Tensor<'float32'>>;
}

/** Whether a folder holds Medusa heads, valid or not. */
export async function hasMedusaHeads(folder: string): Promise<boolean> {
  try {
    return (await readdir(folder)).includes(MEDUSA_FILE);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw fileError('list', folder, error);
  }
}

/**
 * Reads the heads of a folder.
 * @param base the model in the folder, with the fingerprint of its configuration and weights
 * @throws LinnetError `NOT_FOUND` if there are none; `MISMATCH` if they were trained for another model; `FORMAT` for
 *   malformed files and impossible trees; `TENSOR` for missing, surplus or misshapen parameters; `PATH` as `openInFolder`
 */
export async function loadMedusaHeads(
  folder: string,
  base: { readonly model: CausalModel; readonly fingerprint: string },
): Promise<StoredMedusa> {
  const description = await readDescription(folder);
  const { heads, layers, accuracy, acceptance, tree } = description;
  const source = resolve(folder, MEDUSA_FILE);
  if (description.base !== base.fingerprint) {
    throw new LinnetError(
      'MISMATCH',
      `${source} is of another model than that in ${resolve(folder)} (trained for ${description.base.slice(0, 12)}…, ` +
        `found ${base.fingerprint.slice(0, 12)}…); train heads for this model`,
    );
  }
  const { vocabulary } = base.model.sizes;
  if (tree !== undefined) checkTree(tree.paths, heads, vocabulary, source);
  const config = { heads, layers };
  const file = await readSafetensors(
    await openInFolder(folder, MEDUSA_WEIGHTS_FILE),
    resolve(folder, MEDUSA_WEIGHTS_FILE),
  );
  try {
    if (file.metadata.get('base') !== description.base) {
      throw new LinnetError(
        'MISMATCH',
        `${file.source} and ${MEDUSA_FILE} beside it are of different runs; train again`,
      );
    }
    const shapes = medusaParameters(config, base.model.sizes);
    const infos = new Map(file.names().map((name) => [name, file.info(name)]));
    assertTensors({ path: file.source, tensors: infos }, shapes);
    const parameters = new Map<string, Tensor<'float32'>>();
    for (const name of shapes.keys()) parameters.set(name, await file.readFloat32(name));
    return { config, parameters, accuracy, acceptance, tree };
  } finally {
    await file.close();
  }
}

/**
 * Writes heads into a model folder, the description last, so that a folder never describes heads that are not there.
 * @param heads.base fingerprint of the model in the folder
 * @throws LinnetError `FORMAT` for notes that could not be read back; `PATH` or `NOT_FOUND` from the file system
 */
export async function saveMedusaHeads(
  folder: string,
  {
    config,
    parameters,
    base,
    dtype = 'F32',
    ...notes
  }: Omit<StoredMedusa, 'parameters'> & {
    readonly parameters: ReadonlyMap<string, Tensor<'float32'>>;
    readonly base: string;
    readonly dtype?: 'F32' | 'F16' | 'BF16';
  },
): Promise<void> {
  const { heads, layers } = config;
  const description = checkedDescription(
    { format: 'linnet-medusa', version: 1, heads, layers, base, ...notes },
    folder,
  );
  const entries = [...parameters].map(([name, { shape, data }]) => ({ name, dtype, shape, data }));
  await writeSafetensors(resolve(folder, MEDUSA_WEIGHTS_FILE), entries, { format: 'pt', base });
  await writeDescription(folder, description);
}

/** Replaces what is noted beside the heads of a folder, such as a tree found later; what is not given is kept. */
export async function updateMedusaNotes(folder: string, notes: MedusaNotes): Promise<void> {
  const description = await readDescription(folder);
  await writeDescription(folder, checkedDescription({ ...description, ...notes }, folder));
}

async function readDescription(folder: string): Promise<Description> {
  const bytes = await readInFolder(folder, MEDUSA_FILE, maximumBytes).catch((error: unknown) => {
    if (!(error instanceof LinnetError) || error.code !== 'NOT_FOUND') throw error;
    const advice = 'make them with "linnet medusa train"';
    throw new LinnetError('NOT_FOUND', `${resolve(folder)} has no Medusa heads (${MEDUSA_FILE}); ${advice}`, {
      cause: error,
    });
  });
  return checkedDescription(parseJsonObject(bytes, resolve(folder, MEDUSA_FILE), { uniqueKeys: true }), folder);
}

function checkedDescription(value: unknown, folder: string): Description {
  const result = descriptionSchema.safeParse(value);
  if (result.success) return result.data;
  throw new LinnetError(
    'FORMAT',
    `${resolve(folder, MEDUSA_FILE)} does not describe Medusa heads:\n${z.prettifyError(result.error)}`,
    { cause: result.error },
  );
}

async function writeDescription(folder: string, description: Description): Promise<void> {
  await writeFileAtomic(resolve(folder, MEDUSA_FILE), `${JSON.stringify(description)}\n`);
}

/** Refuses trees that are none, and nodes that no head can fill. */
function checkTree(paths: readonly (readonly number[])[], heads: number, vocabulary: number, source: string): void {
  const outside = paths.find((path) => path.length > heads || path.some((rank) => rank >= vocabulary));
  if (outside !== undefined) {
    throw new LinnetError(
      'FORMAT',
      `${source}: rank path [${outside.join(',')}] asks for more than ${heads} heads over ${vocabulary} tokens have`,
    );
  }
  try {
    treeFromPaths(paths);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LinnetError('FORMAT', `${source}: ${reason}`, { cause });
  }
}

/**
 * The rank paths of a tree file: a JSON array of paths as Medusa writes them, or an object with `paths`.
 * @throws LinnetError `FORMAT` for anything else, and for paths that make no tree
 */
export function parseTreeFile(text: string, source: string): number[][] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new LinnetError('FORMAT', `${source} is not valid JSON`, { cause });
  }
  const { paths } = medusaTreeSchema.shape;
  const result = z.union([paths, z.object({ paths }).transform((tree) => tree.paths)]).safeParse(value);
  if (!result.success) {
    throw new LinnetError(
      'FORMAT',
      `${source} is no list of rank paths such as [[0],[1],[0,0]]:\n${z.prettifyError(result.error)}`,
      { cause: result.error },
    );
  }
  checkTree(result.data, medusaLimits.heads, maximumRank + 1, source);
  return result.data;
}
