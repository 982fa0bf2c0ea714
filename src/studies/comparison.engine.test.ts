import { describe, expect, it } from 'vitest';
import type { MixerConfig } from '../attention/mixer.ts';
import { mixerPreset } from '../attention/presets.ts';
import { packDocuments } from '../data/datasets/packing.ts';
import { describeCausalModel } from '../models/families/index.ts';
import { initializeParameters } from '../models/initialize.ts';
import { linearize } from '../models/linearization/linearize.ts';
import { Random } from '../random.ts';
import { byteTokenizer } from '../tokenizer/bytes.ts';
import { parseTrainingSettings } from '../training/settings.ts';
import { type ComparisonOptions, type ComparisonRow, compareMixers } from './comparison.ts';
import { perplexity } from '../evaluation/perplexity/perplexity.ts';
import { evaluationData } from '../evaluation/perplexity/scored-windows.ts';

const model = describeCausalModel({
  model_type: 'llama',
  vocab_size: 258,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  tie_word_embeddings: true,
});
const mixers = new Map<string, MixerConfig>([
  ['as it was', mixerPreset('softmax')],
  ['replaced', mixerPreset('augmented', { group: 8, kernel: 9 })],
]);
const text = 'the linnet sings on the wire while the wind goes round the house. ';
const compile = { threads: 1 };

async function options(extra: Partial<ComparisonOptions> = {}): Promise<ComparisonOptions> {
  const tokenizer = byteTokenizer();
  return {
    model,
    parameters: initializeParameters(model, new Random(6), 0.3),
    mixers,
    dataset: await packDocuments([{ text: text.repeat(10) }], tokenizer, { length: 24 }),
    heldOut: await evaluationData([{ text: text.toUpperCase() }], tokenizer, { mode: 'text', length: 24 }),
    settings: parseTrainingSettings({ batch: 4, length: 24, steps: 12, learningRate: 1e-2 }),
    compile,
    ...extra,
  };
}

async function collect(given: ComparisonOptions): Promise<ComparisonRow[]> {
  const rows: ComparisonRow[] = [];
  for await (const row of compareMixers(given)) rows.push(row);
  return rows;
}

describe('compareMixers', () => {
  it('trains every mixer alike and measures before and after', async () => {
    const events: string[] = [];
    const given = await options({ onUpdate: (name, { update }) => events.push(`${name} ${update}`) });
    const rows = await collect(given);
    expect(rows.map(({ name }) => name)).toEqual([...mixers.keys()]);
    expect(events).toEqual(
      [...mixers.keys()].flatMap((name) => Array.from({ length: 12 }, (_, i) => `${name} ${i + 1}`)),
    );
    for (const { name, mixer, before, after, losses, model: tuned, parameters, tokensPerSecond } of rows) {
      expect(tuned.mixers).toEqual([mixers.get(name)]);
      expect(mixer).toEqual(mixers.get(name));
      const start = linearize(model, given.parameters, mixer);
      expect(before).toBe((await perplexity(start.model, start.parameters, given.heldOut, compile)).perplexity);
      expect(after).toBe((await perplexity(tuned, parameters, given.heldOut, compile)).perplexity);
      expect(losses.map(({ update }) => update)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
      expect(losses[11].loss).toBeLessThan(losses[0].loss);
      expect(tokensPerSecond).toBeGreaterThan(0);
    }
    // Both began from the same weights and saw the same text: only the mixer makes the first loss differ.
    expect(rows[0].losses[0].loss).not.toBe(rows[1].losses[0].loss);
    const again = await collect(given);
    expect(again.map(({ before, after }) => [before, after])).toEqual(rows.map(({ before, after }) => [before, after]));
  });

  it('leaves the given weights alone', async () => {
    const given = await options();
    const copies = new Map([...given.parameters].map(([name, { data }]) => [name, data.slice()]));
    await collect(given);
    for (const [name, { data }] of given.parameters) expect(data).toEqual(copies.get(name));
  });

  it('stops on request, in the middle of a mixer', async () => {
    const controller = new AbortController();
    const seen: string[] = [];
    const stopped = collect(
      await options({
        signal: controller.signal,
        onUpdate: (name, { update }) => {
          seen.push(name);
          if (name === 'replaced' && update === 3) controller.abort();
        },
      }),
    );
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
    expect(seen.filter((name) => name === 'replaced')).toHaveLength(3);
  });
});
