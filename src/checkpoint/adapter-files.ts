/**
 * Low-rank adapters in PEFT's file format: `adapter_config.json` describes them, `adapter_model.safetensors` holds A and B
 * under the Python model's names ("base_model.model." before ours), and whole parameters trained with them (PEFT's
 * modules_to_save). α and filter weights, which no Python module has, lie next to it in `linnet_parameters.safetensors`.
 */
import { readdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { z } from 'zod';
import { LinnetError } from '../errors.ts';
import { parseJsonObject } from '../files/json-object.ts';
import { validated } from '../files/schema-problems.ts';
import type { WeightMap } from '../graph/tensor.ts';
import type { Model } from '../models/families/index.ts';
import { parametersOfMixers } from '../models/linearization/linearize.ts';
import { weightMatrices } from '../models/graphs/weight-matrices.ts';
import { isLoraParameter, type Lora, loraLimits, loraParameters, moduleOf, targetOf } from '../nn/lora.ts';
import type { ParameterShapes, WeightMatrix } from '../nn/parameters.ts';
import { requireFinite } from './finite.ts';
import { writeJsonAtomic } from '../files/atomic.ts';
import { writeFolderAtomic } from '../files/written-folder.ts';
import { assertTensors } from './huggingface.ts';
import { listNames, quoteName } from '../files/name-list.ts';
import { readInFolder } from '../files/regular-file.ts';
import { openSafetensorsIn, type SafetensorsFile } from './safetensors/reader.ts';
import type { TensorEntry } from './safetensors/encoding.ts';
import { writeSafetensors } from './safetensors/writer.ts';
import { positiveNumber, whole } from '../files/schema-values.ts';

const ADAPTER_CONFIG_FILE = 'adapter_config.json';
/** Parameter files and the prefix of their names; the second file may be absent. */
const weightFiles = [
  { file: 'adapter_model.safetensors', before: 'base_model.model.', isBeside: false },
  { file: 'linnet_parameters.safetensors', before: '', isBeside: true },
];
const maximumConfigBytes = 1 << 20;

/** An adapter in memory. */
export interface Adapter {
  readonly lora: Lora;
  /** Every matrix's A and B, and whole parameters that replace the model's. */
  readonly parameters: WeightMap;
}

/** An adapter's base model, with the task head's parameters that the model lacks. */
export interface AdapterBase {
  readonly model: Model;
  /** All parameters that an adapter may hold whole. */
  readonly parameters: ParameterShapes;
  /** Digest of configuration and weights; stored in the adapter's file, and compared if the file has one. */
  readonly fingerprint: string;
}

/** The PEFT fields we read; refuses unsupported fields that would change the result. */
const configSchema = z.looseObject({
  peft_type: z.literal('LORA'),
  r: whole(1, loraLimits.rank),
  lora_alpha: positiveNumber,
  bias: z.literal('none').default('none'),
  use_rslora: z.boolean().nullish(),
  use_dora: z.literal(false).nullish(),
  rank_pattern: z.record(z.string(), z.never()).nullish(),
  alpha_pattern: z.record(z.string(), z.never()).nullish(),
});

export interface AdapterOptions {
  /** The base model's name or path, for Python. */
  readonly basePath: string;
  readonly dtype?: 'F32' | 'F16' | 'BF16';
  readonly replace?: boolean;
  /** PEFT's name for the task: CAUSAL_LM, SEQ_CLS, SEQ_2_SEQ_LM, FEATURE_EXTRACTION. */
  readonly task: string;
}

/** Writes an adapter folder. @throws LinnetError `PATH` if it exists and may not be replaced */
export async function saveAdapter(
  dir: string,
  { model, fingerprint }: Pick<AdapterBase, 'model' | 'fingerprint'>,
  { lora, parameters }: Adapter,
  { basePath, task, dtype = 'F32', replace }: AdapterOptions,
): Promise<void> {
  const mixers = parametersOfMixers(model);
  const whole = [...parameters.keys()].filter((name) => !isLoraParameter(name) && !mixers.has(name));
  const modules = [...new Set(whole.map((name) => name.slice(0, name.lastIndexOf('.'))))];
  const config = {
    peft_type: 'LORA',
    task_type: task,
    base_model_name_or_path: basePath,
    inference_mode: true,
    r: lora.rank,
    lora_alpha: lora.alpha,
    lora_dropout: 0,
    bias: 'none',
    fan_in_fan_out: [...lora.matrices.values()].some(({ layout }) => layout === 'inputs-first'),
    target_modules: [...new Set([...lora.matrices.keys()].map(targetOf))],
    modules_to_save: modules.length === 0 ? null : modules,
  };
  const entries = (before: string, isBeside: boolean): TensorEntry[] =>
    [...parameters].flatMap(([name, { shape, data }]) =>
      mixers.has(name) === isBeside ? [{ name: before + name, dtype, shape, data }] : [],
    );
  const build = async (folder: string): Promise<void> => {
    for (const { file, before, isBeside } of weightFiles) {
      const stored = entries(before, isBeside);
      if (isBeside && stored.length === 0) continue;
      await writeSafetensors(resolve(folder, file), stored, { format: 'pt', base: fingerprint });
    }
    await writeJsonAtomic(resolve(folder, ADAPTER_CONFIG_FILE), config);
  };
  await writeFolderAtomic(dir, build, { replace });
}

/**
 * Reads an adapter folder, ours or PEFT's.
 * @throws LinnetError `NOT_FOUND` if there is none; `FORMAT` for malformed files and unsupported kinds of adapters; `TENSOR`
 *   for tensors that do not fit the model; `MISMATCH` if it was trained for another model
 */
export async function loadAdapter(dir: string, base: AdapterBase): Promise<Adapter> {
  const configPath = resolve(dir, ADAPTER_CONFIG_FILE);
  const json = parseJsonObject(await readInFolder(dir, ADAPTER_CONFIG_FILE, maximumConfigBytes), configPath);
  const config = validated(configSchema, json, 'FORMAT', `${configPath}: not a supported adapter`);
  const present = await readdir(dir);
  const parameters: WeightMap = new Map();
  for (const { file: name, before, isBeside } of weightFiles) {
    if (isBeside && !present.includes(name)) continue;
    await using file = await openSafetensorsIn(dir, name);
    await readInto(parameters, file, before, base);
  }
  const { r: rank, lora_alpha, use_rslora: isStabilized = false } = config;
  // Rank-stabilized updates (arXiv 2312.03732) are scaled by α/√r.
  const alpha = isStabilized ? lora_alpha * Math.sqrt(rank) : lora_alpha;
  const adapted = new Set([...parameters.keys()].filter(isLoraParameter).map(matrixOf));
  const matrices = new Map([...adaptable(base.model)].filter(([key]) => adapted.has(key)));
  const lora = { rank, alpha, matrices };
  const whole = new Map([...base.parameters].filter(([key]) => parameters.has(key)));
  assertTensors({ path: resolve(dir), tensors: parameters }, new Map([...loraParameters(lora), ...whole]));
  return { lora, parameters };
}

async function readInto(
  parameters: WeightMap,
  file: SafetensorsFile,
  before: string,
  { model, fingerprint }: AdapterBase,
): Promise<void> {
  const base = file.metadata.get('base');
  if (base !== undefined && base !== fingerprint) {
    throw new LinnetError(
      'MISMATCH',
      `${file.source} was trained for another model (${base.slice(0, 12)}…, given ${fingerprint.slice(0, 12)}…)`,
    );
  }
  const foreign = file.names().filter((name) => !name.startsWith(before));
  if (foreign.length > 0) {
    throw new LinnetError('FORMAT', `${file.source}: names begin with "${before}"; found ${listNames(foreign)}`);
  }
  for (const stored of file.names()) {
    const name = nameIn(model, stored.slice(before.length));
    if (parameters.has(name)) throw new LinnetError('FORMAT', `${file.source}: ${quoteName(name)} occurs twice`);
    parameters.set(name, requireFinite(await file.readFloat32(stored), stored, file.source));
  }
}

/** Matrices that can have an update: those that take products, the head, and small ones that are always in float32. */
function adaptable(model: Model): Map<string, WeightMatrix> {
  const all = [...model.parameters].flatMap(
    ([
      name,
      {
        shape: [outputs, inputs, ...more],
      },
    ]) =>
      inputs === undefined || more.length > 0
        ? []
        : [[name, { name, outputs, inputs, layout: 'outputs-first' }] as const],
  );
  return new Map([...all, ...weightMatrices(model)]);
}

/** A tensor's name in the model: an adapter may be of the text model alone, or of the model that has it in a part. */
function nameIn({ parameters, parameterName }: Model, name: string): string {
  const matrix = matrixOf(name);
  const own = [matrix, matrix.replace(/^model\./, 'model.language_model.')]
    .map(parameterName)
    .find((one) => one !== undefined && parameters.has(one));
  return own === undefined ? name : name.replace(moduleOf(matrix), moduleOf(own));
}

/** "….q_proj.lora_A.weight" → "….q_proj.weight". */
function matrixOf(name: string): string {
  return name.replace(/\.lora_[AB]\.weight$/, '.weight');
}
