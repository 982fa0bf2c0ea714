/** A study of three trials for tests of machines that share it, and its results without the clock. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tokenizerFileContents } from '../../src/tokenizer/byte-level.ts';
import { byteTokenizerFiles } from '../../src/tokenizer/bytes.ts';
import { writeJsonlTexts } from './text-data.ts';

/** Writes `text.jsonl`, a tokenizer and `plan.json` into a folder. */
export async function writeSmallStudy(folder: string, steps: number): Promise<void> {
  for (const [name, content] of tokenizerFileContents(byteTokenizerFiles()))
    await writeFile(join(folder, name), content);
  const line = 'the quick brown fox jumps over the lazy dog and runs away\n';
  const texts = Array.from({ length: 12 }, (_, i) => `${i} ${line.repeat(6)}`);
  await writeJsonlTexts(join(folder, 'text.jsonl'), texts);
  const config = {
    ...{ model_type: 'llama', vocab_size: 260, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1 },
    ...{ num_attention_heads: 2, max_position_embeddings: 64 },
  };
  const plan = {
    ...{ version: 1, title: 'a study', data: [join(folder, 'text.jsonl')], heldOut: 2, windows: 3, tokenizer: '.' },
    ...{ models: { small: { config } }, methods: { softmax: { preset: 'softmax' } }, seeds: [1, 2, 3] },
    training: { steps, batch: 2, length: 16, learningRate: 0.01 },
  };
  await writeFile(join(folder, 'plan.json'), JSON.stringify(plan));
}

/** Files of results by name, without what depends on the clock. */
export async function timelessTrials(out: string): Promise<Record<string, string>> {
  const place = join(out, 'trials');
  const names = (await readdir(place)).filter((name) => name.endsWith('.json')).sort();
  const contents = await Promise.all(names.map((name) => readFile(join(place, name), 'utf8')));
  const timeless = contents.map((text) => text.replace(/"(seconds|tokensPerSecond)": [\d.e+-]+/g, '"$1": 0'));
  return Object.fromEntries(names.map((name, i) => [name, timeless[i]]));
}
