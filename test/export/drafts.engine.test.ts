/** Drafts change no text: greedy texts with each drafter are those of one token a step, in every stored type. */
import { beforeAll, describe, expect, it } from 'vitest';
import { mixerPreset } from '../../src/attention/presets.ts';
import { draftedTexts, engineOf, storedTypes, tinyLlamaOfPackage } from './drafted-texts.ts';
import { augmentedTinyLlama, type ModelWithWeights } from './exported-model.ts';
import { bitsByReading } from '../../src/evaluation/check/same-bits.ts';
import { linearize } from '../../src/models/linearization/linearize.ts';

let subject: ModelWithWeights;
beforeAll(async () => {
  subject = await tinyLlamaOfPackage();
});

describe('texts drafted = texts alone', () => {
  it.each(storedTypes)('%s: every text', async (type) => {
    await using engine = await engineOf(subject, type);
    expect(await draftedTexts(engine, { prompts: 2, maxTokens: 100 })).toEqual({ texts: 8, tokens: 800, differ: 0 });
  });
});

const mixers: Readonly<Record<string, () => Promise<ModelWithWeights> | ModelWithWeights>> = {
  softmax: () => subject,
  augmented: augmentedTinyLlama,
  // A ring of twelve rows, and sinks that leave the first block.
  'window+sinks of four': () =>
    linearize(subject.model, subject.parameters, mixerPreset('window+sinks', { group: 4, sinks: 4 })),
  'sliding-window': () => linearize(subject.model, subject.parameters, mixerPreset('sliding-window', { window: 100 })),
};

describe('tokens have the bits that they have alone', () => {
  const cases = Object.keys(mixers).flatMap((mixer) =>
    (['w8a8', 'int4-128'] as const).map((type) => [mixer, type] as const),
  );
  it.each(cases)('%s, %s: in chains, trees, batches and chunks', async (mixer, type) => {
    await using engine = await engineOf(await mixers[mixer](), type);
    expect(engine.sameBits).toBe(true);
    const bits = await bitsByReading(engine, { length: 72, seed: 5 });
    expect(bits).toEqual({ alone: true, chain: true, tree: true, batch: true, chunks: true });
  });
});
