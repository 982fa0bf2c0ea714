/** The library entry: from random weights to text, through the public API alone. */
import { describe, expect, it } from 'vitest';
import * as data from '../../src/data/index.ts';
import * as decoding from '../../src/engine/index.ts';
import * as evaluation from '../../src/evaluation/index.ts';
import * as linnet from '../../src/index.ts';
import * as models from '../../src/models/index.ts';
import * as studies from '../../src/studies/index.ts';
import * as training from '../../src/training/index.ts';
import { tinyConfig } from '../models/tiny-model.ts';

const config = tinyConfig('llama');

describe('the library', () => {
  it('linearizes, trains, measures and generates', async () => {
    const tokenizer = data.byteTokenizer();
    const base = models.describeCausalModel(config);
    const weights = models.initializeParameters(base, new linnet.Random(1));
    const { model, parameters } = linnet.linearize(
      base,
      weights,
      linnet.mixerPreset('augmented', { group: 4, kernel: 5 }),
    );
    const documents = Array.from({ length: 8 }, () => ({ text: 'one two three four ', source: 'test' }));
    const dataset = await data.packDocuments(documents, tokenizer, { length: 16, mode: 'stream' });
    const settings = training.parseTrainingSettings({ learningRate: 0.02, batch: 2, length: 16, steps: 30 });
    const objective = training.causalObjective(model, 16);
    const outcome = await training.train({ model, objective, parameters, dataset, settings });

    const text = await evaluation.evaluationData(documents.slice(0, 1), tokenizer, { mode: 'text', length: 16 });
    const before = await evaluation.perplexity(model, parameters, text);
    const after = await evaluation.perplexity(model, outcome.parameters, text);
    expect(after.perplexity).toBeLessThan(before.perplexity / 4);

    const engine = await linnet.DecodingEngine.create(model, outcome.parameters);
    try {
      const promptTokens = tokenizer.encode('one two ', { bos: true });
      const job = { prompt: { tokens: Array.from(promptTokens) }, maxTokens: 5 };
      const [{ text: written, tokens }] = await decoding.runTogether(engine, [job], { tokenizer });
      expect(tokens).toHaveLength(5);
      expect(written).toBe(tokenizer.decode(tokens));
    } finally {
      await engine.dispose();
    }
  });

  it('speculates: several drafters, one text', async () => {
    const base = models.describeCausalModel(config);
    const { model, parameters } = linnet.linearize(
      base,
      models.initializeParameters(base, new linnet.Random(2)),
      linnet.mixerPreset('augmented', { group: 4, kernel: 5 }),
    );
    await using engine = await linnet.DecodingEngine.create(model, parameters);
    const promptTokens = [256, 1, 2, 3, 1, 2];
    const decode = async (method: decoding.DecodingMethod): Promise<readonly number[]> =>
      (
        await decoding.runTogether(engine, [
          { prompt: { tokens: promptTokens }, maxTokens: 24, ignoreEos: true, method },
        ])
      )[0].tokens;
    const expected = await decode(decoding.sequential);

    const medusa = { heads: 2, layers: 1 };
    const heads = models.initializeMedusa(medusa, model, parameters);
    const drafters: decoding.Drafter[] = [
      new decoding.ReferenceDrafter([...promptTokens, ...expected], model.sizes.vocabulary, { seed: 3 }),
      new decoding.CombinedDrafter([
        linnet.lookupDrafter(),
        new decoding.MedusaDrafter(await models.MedusaHeads.create(medusa, model.sizes, heads)),
      ]),
      new decoding.ModelDrafter(engine, model.sizes.vocabulary),
    ];
    for (const drafter of drafters) {
      const statistics = new decoding.SpeculationStatistics();
      expect(await decode(linnet.speculative(drafter, { acceptance: decoding.exact, statistics }))).toEqual(expected);
      expect(statistics.summary.tokensPerStep).toBeCloseTo(23 / statistics.summary.steps);
      // A speculated step brings one token, and one more for each node of its draft that was accepted.
      const { steps, speculatedSteps, acceptedByDepth } = statistics.summary;
      expect(speculatedSteps * acceptedByDepth.reduce((sum, share) => sum + share, 0)).toBeCloseTo(23 - steps);
    }
    const [exact, ...others] = await studies.compareRules(engine, [promptTokens], { tokens: 24 });
    expect(exact).toMatchObject({ name: 'exact', mismatches: 0 });
    expect(others).toHaveLength(studies.verificationRules.length - 1);
  });

  it('throws its own errors', () => {
    expect(() => linnet.mixerPreset('quadratic')).toThrow(linnet.LinnetError);
  });
});
