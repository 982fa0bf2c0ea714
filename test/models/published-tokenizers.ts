/** Published tokenizers, as packages of npm hold them, and tiny models with their shape of vocabulary. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { saveModel } from '../../src/checkpoint/load-model.ts';
import { describeModel } from '../../src/models/families/index.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import { Random } from '../../src/random.ts';
import { tinyConfig } from './tiny-model.ts';

const resolve = createRequire(import.meta.url).resolve;

interface Published {
  readonly family: string;
  /** Where they differ from those of tiny models. */
  readonly fields: Readonly<Record<string, number | readonly number[]>>;
}

/** The sizes and ids of the published config.json of models that have these tokenizers. */
export const publishedModels: Readonly<Record<'gemma3' | 'qwen3' | 'llama3_1', Published>> = {
  gemma3: { family: 'gemma3_text', fields: { vocab_size: 262_144, bos_token_id: 2, eos_token_id: [1, 106] } },
  qwen3: { family: 'qwen3', fields: { vocab_size: 151_936, bos_token_id: 151_643, eos_token_id: 151_645 } },
  llama3_1: {
    family: 'llama',
    fields: { vocab_size: 128_256, bos_token_id: 128_000, eos_token_id: [128_001, 128_008, 128_009] },
  },
};

export type PublishedName = keyof typeof publishedModels;

/** Names for tables of tests. */
export const publishedNames: readonly PublishedName[] = ['gemma3', 'qwen3', 'llama3_1'];

type TokenizerFile = 'tokenizer.json' | 'tokenizer_config.json';

/** Where a file of a published tokenizer lies. */
export function publishedPath(name: PublishedName, file: TokenizerFile): string {
  return resolve(`@lenml/tokenizer-${name}/models/${file}`);
}

/** A file of a published tokenizer. */
export function publishedFile(name: PublishedName, file: TokenizerFile): string {
  return readFileSync(publishedPath(name, file), 'utf8');
}

/** Saves a tiny model of random weights with a published tokenizer and the model's shape of vocabulary. */
export async function savePublishedShape(folder: string, name: PublishedName): Promise<void> {
  const { family, fields } = publishedModels[name];
  const model = describeModel({ ...tinyConfig(family), ...fields, max_position_embeddings: 512 });
  const parameters = initializeParameters(model, new Random(1), 0.5);
  const names = ['tokenizer.json', 'tokenizer_config.json'] as const;
  const tokenizerFiles = new Map(names.map((file) => [file, publishedFile(name, file)]));
  await saveModel(folder, { model, parameters }, { tokenizerFiles });
}
