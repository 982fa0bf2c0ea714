/** The library entry: from random weights to text, through the public API alone. */
import { describe, expect, it } from 'vitest';
import * as linnet from '../src/index.ts';

const config = {
  model_type: 'llama',
  vocab_size: 258,
  hidden_size: 16,
  intermediate_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  max_position_embeddings: 64,
  tie_word_embeddings: true,
  bos_token_id: 256,
  eos_token_id: 257,
};

describe('the library', () => {
  it('linearizes, trains, measures and generates', async () => {
    const tokenizer = linnet.byteTokenizer();
    const base = linnet.describeModel(config);
    const weights = linnet.initializeParameters(base, new linnet.Random(1));
    const { model, parameters } = linnet.linearize(
      base,
      weights,
      linnet.mixerPreset('augmented', { group: 4, kernel: 5 }),
    );
    const documents = Array.from({ length: 8 }, () => ({ text: 'one two three four ', source: 'test' }));
    const dataset = await linnet.packDocuments(documents, tokenizer, { length: 16, mode: 'stream' });
    const settings = linnet.parseTrainingSettings({ learningRate: 0.02, batch: 2, length: 16, steps: 30 });
    const outcome = await linnet.train({ model, parameters, dataset, settings });

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

  it('throws its own errors', () => {
    expect(() => linnet.mixerPreset('quadratic')).toThrow(linnet.LinnetError);
  });
});
