import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { largestChange } from '../../test/models/parameter-change.ts';
import { scratchFolder } from '../../test/scratch-folder.ts';
import { songRows } from '../../test/cli/text-data.ts';
import { tinyConfig } from '../../test/models/tiny-model.ts';
import { mixerPreset } from '../attention/presets.ts';
import { describeCausalModel } from '../models/families/index.ts';
import { initializeParameters } from '../models/initialize.ts';
import type { CausalModel } from '../models/model.ts';
import { Random } from '../random.ts';
import { causalObjective } from './objectives/next-token.ts';
import { type TrainingInput, learningRate, parseTrainingSettings, warmupSteps } from './settings.ts';
import { type TrainingJob, totalUpdates, train, type UpdateEvent } from './trainer.ts';

const plain = describeCausalModel(tinyConfig('llama'));
const model: CausalModel = plain.withMixers(plain.mixers.map(() => mixerPreset('augmented', { group: 8, kernel: 9 })));

async function job(input: TrainingInput = {}, extra: Partial<TrainingJob> = {}): Promise<TrainingJob> {
  const settings = parseTrainingSettings({
    batch: 4,
    length: 20,
    steps: 7,
    learningRate: 1e-2,
    warmup: 2,
    weightDecay: 0.1,
    ...input,
  });
  return {
    model,
    objective: causalObjective(model, 20),
    parameters: initializeParameters(model, new Random(3)),
    dataset: await songRows(),
    settings,
    ...extra,
  };
}

describe('train', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await scratchFolder();
  });

  it('lowers the loss, and reports every update', async () => {
    const events: UpdateEvent[] = [];
    const outcome = await train(await job({ steps: 40 }, { onUpdate: (event) => void events.push(event) }));
    expect(outcome).toMatchObject({ finished: true, updates: 40, total: 40, tokens: 40 * 80 });
    expect(events.map(({ update }) => update)).toEqual(Array.from({ length: 40 }, (_, i) => i + 1));
    expect(events[0].loss).toBeCloseTo(Math.log(258), 0);
    expect(outcome.loss).toBeLessThan(0.7 * events[0].loss);
  });

  it('is repeatable bit for bit, and depends on the seed', async () => {
    const first = await train(await job());
    expect(largestChange(first.parameters, (await train(await job())).parameters)).toBe(0);
    expect(largestChange(first.parameters, (await train(await job({ seed: 1 }))).parameters)).toBeGreaterThan(0);
  });

  it.each([1, 2, 3, 4, 5, 6])(
    'stopped after update %i and resumed equals the unbroken run, bit for bit',
    async (stopAt) => {
      const unbroken = await train(await job());
      const abort = new AbortController();
      const snapshots = { folder: join(folder, 'snapshots'), every: 3 };
      const stopped = await train(
        await job(
          {},
          {
            snapshots,
            signal: abort.signal,
            onUpdate: ({ update }) => {
              if (update === stopAt) abort.abort();
            },
          },
        ),
      );
      expect(stopped).toMatchObject({ finished: false, updates: stopAt });
      const resumed = await train(await job({}, { snapshots }));
      expect(resumed).toMatchObject({ finished: true, updates: 7 });
      expect(largestChange(unbroken.parameters, resumed.parameters)).toBe(0);
    },
  );

  it('falls back to the snapshot before a damaged one, and still ends with the same weights', async () => {
    const snapshots = { folder, every: 2 };
    const unbroken = await train(await job({}, { snapshots }));
    const files = (await readdir(folder)).sort();
    expect(files).toEqual(['update-000000006.safetensors', 'update-000000007.safetensors']);
    await writeFile(join(folder, files[1]), 'torn');
    expect(largestChange(unbroken.parameters, (await train(await job({}, { snapshots }))).parameters)).toBe(0);
  });

  it.each([
    ['other settings', { learningRate: 2e-2 }],
    ['another seed', { seed: 5 }],
  ])('refuses to resume with %s', async (_name, changed) => {
    const snapshots = { folder, every: 2 };
    await train(await job({ steps: 2 }, { snapshots }));
    await expect(train(await job({ steps: 2, ...changed }, { snapshots }))).rejects.toMatchObject({ code: 'MISMATCH' });
  });

  it('gives the same result with micro-batches, up to rounding', async () => {
    const whole = await train(await job({ microBatch: 4 }));
    const parts = await train(await job({ microBatch: 1 }));
    // Both draw the same rows: the stream gives them one after the other.
    expect(parts.tokens).toBe(whole.tokens);
    expect(largestChange(whole.parameters, parts.parameters)).toBeLessThan(2e-3);
  });

  it('leaves frozen parameters alone', async () => {
    const start = await job({}, { trainable: (name) => name.includes('self_attn') });
    const outcome = await train(start);
    for (const [name, value] of outcome.parameters) {
      const moved = largestChange(new Map([[name, value]]), start.parameters);
      if (name.includes('self_attn')) expect(moved, name).toBeGreaterThan(0);
      else expect(moved, name).toBe(0);
    }
  });

  it('counts updates from epochs, and says when there is too little text', async () => {
    const dataset = await songRows();
    expect(totalUpdates(dataset, parseTrainingSettings({ batch: 4, epochs: 3 }))).toBe(
      Math.floor((dataset.rows * 3) / 4),
    );
    expect(() => totalUpdates(dataset, parseTrainingSettings({ batch: 4096 }))).toThrow(/do not fill a batch/);
  });
});

describe('settings', () => {
  it('have the defaults of the paper', () => {
    expect(parseTrainingSettings({})).toMatchObject({
      learningRate: 2e-5,
      batch: 32,
      epochs: 3,
      beta1: 0.9,
      beta2: 0.95,
    });
  });

  it('take the warm-up in steps or as a share of all', () => {
    expect(warmupSteps(parseTrainingSettings({ warmup: 7 }), 200)).toBe(7);
    expect(warmupSteps(parseTrainingSettings({ warmupShare: 0.06 }), 200)).toBe(12);
    expect(warmupSteps(parseTrainingSettings({ warmup: 7, warmupShare: 0 }), 200)).toBe(0);
  });

  it('name the field that is wrong', () => {
    expect(() => parseTrainingSettings({ batch: 4, microBatch: 3 })).toThrow(/microBatch/);
    expect(() => parseTrainingSettings({ learningRate: Number.NaN })).toThrow(/learningRate/);
  });
});

describe('learningRate', () => {
  const base = { peak: 1, warmup: 4, total: 12 };
  it('rises linearly, then follows the schedule', () => {
    expect([0, 1, 4].map((update) => learningRate({ ...base, name: 'constant' }, update))).toEqual([0, 0.25, 1]);
    expect([4, 8, 12].map((update) => learningRate({ ...base, name: 'linear' }, update))).toEqual([1, 0.5, 0]);
    expect(learningRate({ ...base, name: 'cosine' }, 8)).toBeCloseTo(0.5, 12);
    expect(() => learningRate({ ...base, name: 'linear', warmup: 13 }, 0)).toThrow(/warm-up/);
  });
});
