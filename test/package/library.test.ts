/** The library entry: from random weights to text, through the public API alone. */
import { describe, expect, it } from 'vitest';
import * as linnet from '../../src/index.ts';
import { tinyConfig } from '../models/tiny-model.ts';

const config = tinyConfig('llama');

describe('the library', () => {
  it('linearizes, trains, measures and generates', async () => {
    const tokenizer = linnet.byteTokenizer();
    const base = linnet.describeCausalModel(config);
    const weights = linnet.initializeParameters(base, new linnet.Random(1));
    const { model, parameters } = linnet.linearize(
      base,
      weights,
      linnet.mixerPreset('augmented', { group: 4, kernel: 5 }),
    );
    const documents = Array.from({ length: 8 }, () => ({ text: 'one two three four ', source: 'test' }));
    const dataset = await linnet.packDocuments(documents, tokenizer, { length: 16, mode: 'stream' });
    const settings = linnet.parseTrainingSettings({ learningRate: 0.02, batch: 2, length: 16, steps: 30 });
    const objective = linnet.causalObjective(model, 16);
    const outcome = await linnet.train({ model, objective, parameters, dataset, settings });

    const data = await linnet.evaluationData(documents.slice(0, 1), tokenizer, { mode: 'text', length: 16 });
    const before = await linnet.perplexity(model, parameters, data);
    const after = await linnet.perplexity(model, outcome.parameters, data);
    expect(after.perplexity).toBeLessThan(before.perplexity / 4);

    const engine = await linnet.DecodingEngine.create(model, outcome.parameters);
    try {
      const promptTokens = tokenizer.encode('one two ', { bos: true });
      const { text, tokens } = await linnet.generateToEnd(engine, { promptTokens, maxTokens: 5, tokenizer });
      expect(tokens).toHaveLength(5);
      expect(text).toBe(tokenizer.decode(tokens));
    } finally {
      await engine.dispose();
    }
  });

  it('speculates: several drafters, one text', async () => {
    const base = linnet.describeCausalModel(config);
    const { model, parameters } = linnet.linearize(
      base,
      linnet.initializeParameters(base, new linnet.Random(2)),
      linnet.mixerPreset('augmented', { group: 4, kernel: 5 }),
    );
    await using engine = await linnet.DecodingEngine.create(model, parameters);
    const promptTokens = [256, 1, 2, 3, 1, 2];
    const decode = async (method: linnet.DecodingMethod): Promise<readonly number[]> =>
      (await linnet.generateToEnd(engine, { promptTokens, maxTokens: 24, ignoreEos: true, method })).tokens;
    const expected = await decode(linnet.sequential);

    const medusa = { heads: 2, layers: 1 };
    const heads = linnet.initializeMedusa(medusa, model, parameters);
    const drafters: linnet.Drafter[] = [
      new linnet.ReferenceDrafter([...promptTokens, ...expected], model.sizes.vocabulary, { seed: 3 }),
      new linnet.CombinedDrafter([
        new linnet.LookupDrafter(),
        new linnet.MedusaDrafter(await linnet.MedusaHeads.create(medusa, model.sizes, heads)),
      ]),
      new linnet.ModelDrafter(engine, model.sizes.vocabulary),
    ];
    for (const drafter of drafters) {
      const statistics = new linnet.SpeculationStatistics();
      const observed = new linnet.ObservedDrafter(drafter);
      expect(await decode(linnet.speculative(observed, { acceptance: linnet.exact, statistics }))).toEqual(expected);
      expect(statistics.summary.tokensPerStep).toBeCloseTo(23 / statistics.summary.steps);
      // What was accepted beyond one token a step was offered at some place of the trees.
      const accepted = observed.acceptance.reduce((sum, place) => sum + place.accepted, 0);
      expect(accepted).toBe(23 - statistics.summary.steps);
    }
    const [exact, ...others] = await linnet.compareRules(engine, [promptTokens], { tokens: 24 });
    expect(exact).toMatchObject({ name: 'exact', mismatches: 0 });
    expect(others).toHaveLength(linnet.verificationRules.length - 1);
  });

  it('throws its own errors', () => {
    expect(() => linnet.mixerPreset('quadratic')).toThrow(linnet.LinnetError);
  });
});
