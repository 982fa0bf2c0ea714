/** A real pretrained LLaMA, exported: what fewer bits cost, and that greedy text of float32 is the reference's. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseMixer } from '../../src/attention/mixers.ts';
import { mixerPreset } from '../../src/attention/presets.ts';
import { type LoadedModel, loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { readDocuments } from '../../src/data/documents/documents.ts';
import { generateToEnd } from '../decoding/generated.ts';
import { perplexity, stepPerplexity } from '../../src/evaluation/perplexity/perplexity.ts';
import { type EvaluationData, evaluationData } from '../../src/evaluation/perplexity/scored-windows.ts';
import { exportModel } from '../../src/export/export-model.ts';
import { linearize } from '../../src/models/linearization/linearize.ts';
import { type WeightType, weightTypes } from '../../src/quantization/sources.ts';
import { readerOf } from '../../src/quantization/weight-reader.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { thirdParty } from '../fixtures.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { openReady } from '../open/ready-model.ts';

const folder = thirdParty('stories260k');
const stories = thirdParty('text/tinystories.jsonl');
const reference = thirdParty('stories260k/expected-greedy.json');
const absent = folder === undefined || stories === undefined || reference === undefined;

/** Largest factor by which perplexity may grow, of a model of 260,000 weights in rows of 64. */
const largestCost: Readonly<Record<WeightType, number>> = { f32: 1.00001, f16: 1.001, w8a8: 1.01, int4: 1.2 };

describe.skipIf(absent)(`exported stories260k${absent ? ' (skipped: third-party fixtures are absent)' : ''}`, () => {
  const place = suiteFolder();
  let softmax: LoadedModel;
  let data: EvaluationData;

  beforeAll(async () => {
    softmax = await loadCausalModel(folder ?? '');
    const documents = [];
    for await (const document of readDocuments([stories ?? ''])) {
      documents.push(document);
      if (documents.length === 8) break;
    }
    data = await evaluationData(documents, await loadTokenizer(folder ?? ''), { mode: 'documents', length: 300 });
  });

  async function cost(
    name: string,
    { model, parameters }: Pick<LoadedModel, 'model' | 'parameters'>,
    dtype: WeightType,
  ) {
    const dir = join(place, `${name}-${dtype}`);
    await exportModel(dir, { model, weights: readerOf(parameters), dtype });
    await using exported = await openReady(dir);
    const stored = await stepPerplexity(exported.engine, data);
    const exact = await perplexity(model, parameters, data);
    expect(stored.tokens).toBe(exact.tokens);
    return stored.perplexity / exact.perplexity;
  }

  it.each(weightTypes)('as %s predicts about as well', async (dtype) => {
    const factor = await cost('softmax', softmax, dtype);
    expect(factor).toBeLessThan(largestCost[dtype]);
    expect(factor).toBeGreaterThan(0.99);
  });

  it.each(weightTypes)('linearized, as %s predicts about as well', async (dtype) => {
    const mixer = parseMixer(mixerPreset('augmented', { group: 64, kernel: 63 }));
    const linear = linearize(softmax.model, softmax.parameters, mixer);
    // Not trained: a part of the global branch, so that sums matter.
    for (const [name, { data: values }] of linear.parameters) if (name.endsWith('global_factor')) values.fill(0.02);
    const factor = await cost('linear', linear, dtype);
    expect(factor).toBeLessThan(largestCost[dtype]);
    expect(factor).toBeGreaterThan(0.9);
  });

  it('as f32 writes the text of the reference', async () => {
    const greedy = z.object({ greedy_ids: z.array(z.int()) });
    const expected = greedy.parse(JSON.parse(readFileSync(reference ?? '', 'utf8'))).greedy_ids;
    const dir = join(place, 'text');
    await exportModel(dir, { model: softmax.model, weights: readerOf(softmax.parameters), dtype: 'f32' });
    await using exported = await openReady(dir);
    const { tokens } = await generateToEnd(exported.engine, { promptTokens: [1], maxTokens: 255 });
    expect([1, ...tokens]).toEqual(expected);
  });
});
