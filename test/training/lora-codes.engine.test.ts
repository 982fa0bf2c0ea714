/** Low-rank updates of a model whose matrices stay in the codes of a GGUF file. */
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadModel, saveModel } from '../../src/checkpoint/load-model.ts';
import { finetune, planFinetune } from '../../src/training/plans/finetune.ts';
import { quantizedKinds, quantizedModel, saveQuantized } from '../checkpoint/quantized-folder.ts';
import { goldenGguf } from '../parity/golden-gguf.ts';
import { scratchFolder } from '../scratch-folder.ts';

const cases = ['llama-q4_0', 'llama-q4_k', 'llama-q8_0', 'qwen35-q8_0'].flatMap((name) => {
  const folder = goldenGguf(name);
  return folder === undefined ? [] : [{ name, file: join(folder, 'model.gguf') }];
});

describe.skipIf(cases.length === 0)('low-rank updates of matrices in codes (needs golden GGUF files)', () => {
  it.each(cases)('of $name have the losses of the decoded matrices', async ({ file }) => {
    const folder = await scratchFolder();
    const at = (name: string): string => join(folder, name);
    await writeFile(at('text.txt'), 'the quick brown fox jumps over the lazy dog, again and again. '.repeat(40));
    const loaded = await loadModel(file);
    await saveModel(at('decoded'), loaded, { tokenizerFiles: { from: file } });
    const options = {
      data: [at('text.txt')],
      steps: 6,
      batch: 2,
      length: 24,
      learningRate: 1e-2,
      lora: { rank: 4, targets: ['q', 'v', 'down'] },
    };
    const losses: number[][] = [[], []];
    const tune = (model: string, out: string, of: number[]) =>
      finetune(model, { ...options, out: at(out) }, { onUpdate: ({ loss }) => of.push(loss) });
    const coded = await tune(file, 'coded', losses[0]);
    const decoded = await tune(at('decoded'), 'whole', losses[1]);
    expect(losses[0]).toHaveLength(6);
    losses[0].forEach((loss, step) => expect(Math.abs(loss - losses[1][step])).toBeLessThan(1e-3));
    expect(losses[0][5]).toBeLessThan(losses[0][0] - 0.05);
    expect([coded.details, decoded.details]).toEqual([{ adapter: true }, {}]);
    expect(await readdir(at('coded'))).toContain('adapter_model.safetensors');
    const [one] = (await planFinetune(file, { ...options, out: at('planned') })).stages;
    expect(one.form).toBe('layers');
    await expect(finetune(file, { ...options, memory: '64MiB', out: at('refused') })).rejects.toMatchObject({
      code: 'CONFIG',
    });
  });
});

it.each(Object.keys(quantizedKinds).slice(0, 2))(
  'low-rank updates of a folder in %s are trained layer by layer',
  async (kind) => {
    const folder = await scratchFolder();
    const at = (name: string): string => join(folder, name);
    await saveQuantized(at('base'), quantizedModel(kind));
    await writeFile(at('text.txt'), 'the quick brown fox jumps over the lazy dog. '.repeat(40));
    const options = { data: [at('text.txt')], steps: 4, batch: 2, length: 24, learningRate: 1e-2, lora: { rank: 2 } };
    const tuned = await finetune(at('base'), { ...options, out: at('tuned') });
    expect(tuned.details).toEqual({ adapter: true });
    expect(Number.isFinite(tuned.loss)).toBe(true);
  },
);
