/** Opens the model that a header describes, from files on disk or elsewhere. Also runs in browsers. */
import { LinnetError } from '../../errors.ts';
import type { JsonObject } from '../../files/json-object.ts';
import { translate } from './architectures.ts';
import type { GgufHeader, ListedTensor } from './header.ts';
import { Metadata } from './metadata.ts';
import { tensorRecipes } from './recipes.ts';
import { type GgufFile, GgufWeights } from './weights.ts';

/** A model in GGUF files. */
export interface GgufModel {
  /** A config.json. */
  readonly config: JsonObject;
  readonly weights: GgufWeights;
  readonly facts: GgufFacts;
}

/** Facts the file states. */
export interface GgufFacts {
  readonly architecture: string;
  /** `tokenizer.ggml.model`; undefined if the file has no tokenizer. */
  readonly tokenizer: string | undefined;
  /** Tensor counts by type. */
  readonly types: Readonly<Record<string, number>>;
}

/** A header's model. @param files opened */
export async function modelOf(header: GgufHeader, files: readonly GgufFile[], name: string): Promise<GgufModel> {
  const metadata = new Metadata(header, name, await ropeFactors(header.tensors));
  const { config, rules } = translate(metadata);
  const types: Record<string, number> = {};
  for (const { type } of header.tensors.values()) types[type.name] = (types[type.name] ?? 0) + 1;
  const tokenizer = header.metadata.get('tokenizer.ggml.model');
  return {
    config,
    weights: new GgufWeights(files, tensorRecipes(header.tensors, rules, name)),
    facts: {
      architecture: metadata.architecture,
      types,
      tokenizer: typeof tokenizer === 'string' ? tokenizer : undefined,
    },
  };
}

/** Most angle factors read. */
const mostFactors = 1 << 15;

async function ropeFactors(tensors: ReadonlyMap<string, ListedTensor>): Promise<readonly number[]> {
  const listed = tensors.get('rope_freqs.weight');
  if (listed === undefined) return [];
  const { type, shape, source, offset, byteLength } = listed;
  if (type.name === 'F32' && shape.length === 1 && shape[0] <= mostFactors) {
    const factors = new Float32Array(shape[0]);
    type.decode(await source.read(offset, byteLength), factors);
    if (factors.every((factor) => factor > 0 && factor < Infinity)) return [...factors];
  }
  throw new LinnetError('TENSOR', `${source.name}: rope_freqs.weight is no list of positive F32 numbers`);
}
