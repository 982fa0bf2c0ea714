/** A conversion into the container of Qwen3.5 that is stopped goes on to the weights of an unbroken one. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { song } from '../../test/cli/text-data.ts';
import { saveTinyModel } from '../../test/models/tiny-model.ts';
import { suiteFolder } from '../../test/scratch-folder.ts';
import { loadCausalModel } from '../checkpoint/load-model.ts';
import type { Tensor } from '../graph/tensor.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import { convertIntoQwen35 } from './container.ts';
import type { ConversionOptions } from './options.ts';
import type { Weighted } from './stages.ts';
import { conversionTexts } from './texts.ts';

const folder = suiteFolder();
const at = (name: string): string => join(folder, name);

async function into(name: string, more: Partial<ConversionOptions> = {}): Promise<Weighted<Tensor<'float32'>>> {
  const original = await loadCausalModel(at('base'));
  const tokenizer = await loadTokenizer(original.path);
  const documents = Array.from({ length: 12 }, (_, i) => ({ text: `${song} ${i} ${song}`, source: `${i}` }));
  const texts = await conversionTexts(documents, tokenizer, { heldOut: 2, length: 64 });
  return await convertIntoQwen35(original, tokenizer, texts, {
    budget: 0,
    steps: { transfer: 0, logits: 8, long: 0 },
    keep: { layers: [1] },
    batch: 2,
    length: 16,
    folder: at(name),
    compile: { threads: 1 },
    ...more,
  });
}

beforeAll(() => saveTinyModel(at('base'), 1, 'qwen3'));

it('goes on where it was stopped, and with nothing else', async () => {
  const whole = await into('whole');
  const stop = new AbortController();
  const stopped = into('stopped', {
    signal: stop.signal,
    onEvent(event) {
      if (event.kind === 'step' && event.done === 5) stop.abort();
    },
  });
  await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
  await expect(into('stopped')).rejects.toMatchObject({ code: 'PATH' });
  await expect(into('stopped', { resume: true, seed: 7 })).rejects.toMatchObject({ code: 'MISMATCH' });
  const done: number[] = [];
  const resumed = await into('stopped', {
    resume: true,
    onEvent(event) {
      if (event.kind === 'step') done.push(event.done);
    },
  });
  expect(done).toEqual([6, 7, 8]);
  for (const [name, { data }] of whole.parameters) expect(resumed.parameters.get(name)?.data, name).toEqual(data);
  const anew = await into('stopped', { replace: true });
  for (const [name, { data }] of whole.parameters) expect(anew.parameters.get(name)?.data, name).toEqual(data);
});

it('leaves nothing where it is refused, or has no time', async () => {
  await expect(into('refused', { memoryBytes: 2 ** 20 })).rejects.toThrow(/in stage logits .* the limit is 1 MiB/);
  expect(existsSync(at('refused'))).toBe(false);
  await expect(into('short', { steps: undefined, budget: 0.001 })).rejects.toThrow(/fewer than 4 optimizer steps/);
  expect(existsSync(join(at('short'), 'conversion.json'))).toBe(false);
});
