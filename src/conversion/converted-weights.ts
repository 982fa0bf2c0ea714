/** A conversion's weights: the original's stay in memory or its files, new ones are in a file in the run folder. */
import { z } from 'zod';
import type { MixerConfig } from '../attention/mixer.ts';
import { parseMixer } from '../attention/mixers.ts';
import { openSafetensors } from '../checkpoint/safetensors/reader.ts';
import { float32Entries } from '../checkpoint/safetensors/encoding.ts';
import { writeSafetensors } from '../checkpoint/safetensors/writer.ts';
import { residentTensors } from '../checkpoint/stored-parameter.ts';
import { jsonIn } from '../files/json-object.ts';
import { validated } from '../files/schema-problems.ts';
import type { WeightMap, Weights } from '../graph/tensor.ts';
import { exchangedParameters } from '../models/linearization/linearize.ts';
import { weightMatrices } from '../models/graphs/weight-matrices.ts';
import type { CausalModel } from '../models/model.ts';
import { isLoraParameter, type Lora, loraParameters, mergedParameters } from '../nn/lora.ts';
import type { Weighted } from './stages.ts';
import { selectParameters } from '../nn/parameters.ts';
import { positiveNumber, whole } from '../files/schema-values.ts';

/** Low-rank updates that matrices learned; the matrices keep the original's numbers. */
interface LearnedUpdates {
  readonly lora: Lora;
  /** Every matrix's A and B. */
  readonly values: Weights;
}

/** A converted model whose matrices include the updates. */
export interface ConvertedWeights extends Weighted {
  readonly updates?: LearnedUpdates;
}

const metadataKey = 'converted';
const schema = z.strictObject({
  version: z.literal(1),
  mixers: z.array(z.looseObject({ kind: z.string() })),
  lora: z.strictObject({ rank: whole(1), alpha: positiveNumber, matrices: z.array(z.string()) }).optional(),
});

/** The model with updates in its matrices. */
export function withUpdates({ model, parameters }: Weighted, updates: LearnedUpdates): ConvertedWeights {
  return { model, parameters: mergedParameters(updates.lora, updates.values, parameters), updates };
}

/** Writes everything the original lacks. */
export async function writeConverted(
  path: string,
  original: Weighted,
  { model, parameters, updates }: ConvertedWeights,
): Promise<void> {
  const isNew = ([name]: readonly [string, unknown]): boolean =>
    updates?.lora.matrices.has(name) !== true && parameters.get(name) !== original.parameters.get(name);
  const tensors = [...[...residentTensors(parameters)].filter(isNew), ...(updates?.values ?? [])];
  const { rank, alpha, matrices } = updates?.lora ?? { rank: 1, alpha: 1, matrices: new Map<string, unknown>() };
  const lora = updates && { rank, alpha, matrices: [...matrices.keys()] };
  await writeSafetensors(path, float32Entries(tensors), {
    [metadataKey]: JSON.stringify({ version: 1, mixers: model.mixers, lora }),
  });
}

/** Reads a file by `writeConverted`. @throws LinnetError `NOT_FOUND` without it, `FORMAT` for a damaged one */
export async function readConverted(path: string, original: Weighted): Promise<ConvertedWeights> {
  await using file = await openSafetensors(path);
  const described = jsonIn(file.metadata.get(metadataKey));
  const { mixers, lora } = validated(schema, described, 'FORMAT', `${path} is damaged; convert anew`);
  const tensors: WeightMap = new Map();
  for (const name of file.names()) tensors.set(name, await file.readFloat32(name));
  const model = withStoredMixers(original.model, mixers);
  const parameters = new Map(exchangedParameters(original.model, model, original.parameters));
  for (const [name, value] of tensors) if (!isLoraParameter(name)) parameters.set(name, value);
  if (lora === undefined) return { model, parameters };
  const matrices = selectParameters(weightMatrices(model), (name) => lora.matrices.includes(name));
  const adapted = { ...lora, matrices };
  const values = selectParameters(tensors, (name) => loraParameters(adapted).has(name));
  return withUpdates({ model, parameters }, { lora: adapted, values });
}

/** A model with a file's mixers. @throws LinnetError `CONFIG` for mixers it cannot have */
function withStoredMixers(model: CausalModel, stored: readonly object[]): CausalModel {
  return model.withMixers(
    stored.map((mixer, layer) => {
      const own: MixerConfig | undefined = model.mixers[layer];
      return own !== undefined && JSON.stringify(own) === JSON.stringify(mixer) ? own : parseMixer(mixer);
    }),
  );
}
