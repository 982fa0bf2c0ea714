/** generation_config.json: a model's default sampling, and the tokens that end its texts. */
import { z } from 'zod';
import { type JsonObject, isJsonObject, parseJsonObject } from '../files/json-object.ts';
import { share, whole } from '../files/schema-values.ts';
import { validated } from '../files/schema-problems.ts';

export const GENERATION_FILE = 'generation_config.json';

/** Largest file read. */
export const maximumGenerationBytes = 1_000_000;

const tokenId = whole(0, 1 << 24);

/** The fields we read; most others configure Python's own searches and caches. */
const schema = z.looseObject({
  do_sample: z.boolean().nullish(),
  temperature: z.number().min(0).max(100).nullish(),
  top_k: whole(0, 1 << 24).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  min_p: share.nullish(),
  repetition_penalty: z.number().min(0.01).max(100).nullish(),
  eos_token_id: z.union([tokenId, z.array(tokenId).max(1000)]).nullish(),
});

/** Sampling defaults for requests; absent fields are left to the caller. */
export interface GenerationDefaults {
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
}

/** The contents of a generation_config.json. */
export interface GenerationConfig {
  readonly sampling: GenerationDefaults;
  /** Tokens that end a text. */
  readonly eosIds: readonly number[];
}

/**
 * Reads a generation_config.json. `do_sample` false is greedy; true, or absent next to a filter or temperature, samples, at
 * temperature 1 if none is given.
 * @param source its name, for errors
 * @throws LinnetError `CONFIG` naming every wrong field
 */
export function parseGenerationConfig(json: JsonObject, source: string): GenerationConfig {
  const {
    do_sample: asked,
    eos_token_id: eos,
    ...fields
  } = validated(schema, json, 'CONFIG', `unusable ${source} (fix or remove the file)`);
  const given = {
    topK: fields.top_k ?? undefined,
    topP: fields.top_p ?? undefined,
    minP: fields.min_p ?? undefined,
  };
  const hasFilter = Object.values(given).some((value) => value !== undefined);
  const draws = asked ?? (hasFilter || (fields.temperature ?? 0) > 0);
  const temperature = asked === false ? 0 : draws ? (fields.temperature ?? 1) : undefined;
  const all = { temperature, ...given, repetitionPenalty: fields.repetition_penalty ?? undefined };
  const sampling = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  return { sampling, eosIds: typeof eos === 'number' ? [eos] : (eos ?? []) };
}

/**
 * `parseGenerationConfig` for a file's bytes; without a file, no defaults and no EOS ids.
 * @throws LinnetError like `parseGenerationConfig`, and `FORMAT` for a file that is not JSON
 */
export function generationConfigOf(bytes: Uint8Array | undefined, source: string): GenerationConfig {
  return parseGenerationConfig(bytes === undefined ? {} : parseJsonObject(bytes, source), source);
}

/** A config.json with generation_config.json's EOS ids added. */
export function withEnds(config: JsonObject, { eosIds }: GenerationConfig): JsonObject {
  const { text_config: text } = config;
  const own = config.eos_token_id ?? (isJsonObject(text) ? text.eos_token_id : undefined) ?? [];
  const known: readonly unknown[] = Array.isArray(own) ? own : [own];
  const further = eosIds.filter((id) => !known.includes(id));
  return further.length === 0 ? config : { ...config, eos_token_id: [...known, ...further] };
}
