/** Answers from weights in a folder, layer by layer: as whole graphs and the engine give them. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { saveTinyModel } from '../../../test/models/tiny-model.ts';
import { suiteFolder } from '../../../test/scratch-folder.ts';
import { openCausalWeights, readParameters } from '../../checkpoint/load-model.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import { EngineScorer } from '../../engine/scoring/engine-scorer.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { WindowScorer } from './window-scorer.ts';

const folder = suiteFolder();
/** Choices of one letter, which share a window, and longer ones, after questions of several lengths. */
const letters = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i));
const requests = Array.from({ length: 9 }, (_, i) =>
  [...letters, ' and then', ' never'].map((continuation) => ({ context: `${'word '.repeat(i)}so`, continuation })),
).flat();
const text = 'A text of two windows and a half, which is read from its beginning to its end.';

/** A model, and scorers that read it layer by layer and whole. */
async function scorersOf(family: string, dir = join(folder, family)) {
  await saveTinyModel(dir, 1, family);
  const weights = await openCausalWeights(dir);
  const { model, parameters } = weights;
  const memory = await readParameters(weights);
  const options = { model, tokenizer: await loadTokenizer(dir), maxLength: 32 };
  return {
    weights,
    layers: new WindowScorer({ ...options, parameters }),
    whole: new WindowScorer({ ...options, parameters: memory }),
    engine: await DecodingEngine.create(model, memory),
    options,
  };
}

describe('scores layer by layer', () => {
  it.each(['llama', 'granitemoehybrid', 'falcon_h1'])(
    'are those of the whole graph and of the engine: %s',
    async (family) => {
      const { weights, layers, whole, engine, options } = await scorersOf(family);
      await using _weights = weights;
      await using _engine = engine;
      const byEngine = new EngineScorer({ ...options, engine });
      const [found, expected, stepped] = [
        await layers.score(requests),
        await whole.score(requests),
        await byEngine.score(requests),
      ];
      expect(found).toHaveLength(requests.length);
      found.forEach(({ logLikelihood, isGreedy }, i) => {
        expect(Math.abs(logLikelihood - expected[i].logLikelihood)).toBeLessThanOrEqual(1e-6);
        expect(Math.abs(logLikelihood / stepped[i].logLikelihood - 1)).toBeLessThan(1e-5);
        expect(isGreedy).toBe(stepped[i].isGreedy);
      });
      expect(found.filter(({ isGreedy }) => isGreedy)).not.toHaveLength(0);
      const [sum] = await layers.rolling([text]);
      expect(Math.abs(sum - (await whole.rolling([text]))[0])).toBeLessThanOrEqual(1e-6);
      expect(Math.abs(sum / (await byEngine.rolling([text]))[0] - 1)).toBeLessThan(1e-5);
    },
  );

  it('reads what differs in its last token once', async () => {
    const { weights, layers, engine } = await scorersOf('llama', join(folder, 'sharing'));
    await using _weights = weights;
    await using _engine = engine;
    await layers.score(requests.slice(0, 3));
    const { tokensRead, tokensReused } = layers.usage;
    expect(tokensReused).toBe(2 * tokensRead);
  });

  it('refuses to generate, and a continuation without a token', async () => {
    const { weights, layers, engine } = await scorersOf('llama', join(folder, 'refusing'));
    await using _weights = weights;
    await using _engine = engine;
    await expect(layers.generate()).rejects.toMatchObject({ code: 'CONFIG' });
    await expect(layers.score([{ context: 'a', continuation: '' }])).rejects.toMatchObject({ code: 'INPUT' });
  });
});
