/** Trained heads of a T5 draft for its decoder, in its folder and in exports of it. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { medusa, type Parameters, pairMedusaJob } from '../models/t5-heads.ts';
import { runCaptured, runJson } from './captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { openCheckpoint } from '../../src/checkpoint/huggingface.ts';
import { saveModel } from '../../src/checkpoint/load-model.ts';
import { saveMedusaHeads } from '../../src/checkpoint/medusa-files.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { type GenerateOptions, generateToEnd } from '../../src/decoding/generate.ts';
import { Sampler } from '../../src/decoding/sampler.ts';
import { MedusaDrafter } from '../../src/decoding/speculation/medusa-drafter.ts';
import { speculative } from '../../src/decoding/speculation/speculative.ts';
import { SpeculationStatistics } from '../../src/decoding/speculation/statistics.ts';
import { MedusaHeads } from '../../src/models/medusa-heads.ts';
import type { EncoderDecoderModel } from '../../src/models/model.ts';
import { tokenizerFileContents } from '../../src/tokenizer/byte-level.ts';
import { byteTokenizer, byteTokenizerFiles } from '../../src/tokenizer/bytes.ts';
import { train } from '../../src/training/trainer.ts';
import { trainPairMedusa } from '../../src/training/objectives/medusa-pairs.ts';
import { sequenceObjective } from '../../src/training/objectives/sequence-to-sequence.ts';

describe('trained heads of a T5', () => {
  const place = suiteFolder();

  /** A T5 that has learned the song, and heads for it. */
  async function trained(): Promise<{ model: EncoderDecoderModel; base: Parameters; heads: Parameters }> {
    const start = pairMedusaJob({ steps: 150 });
    const { model, dataset } = start;
    const learned = await train({ ...start, objective: sequenceObjective(model, dataset.lengths) });
    const { base, heads } = await trainPairMedusa({ ...start, parameters: learned.parameters });
    return { model, base, heads };
  }

  it('draft for its decoder, in its folder and in exports, and change no text', async () => {
    const { model, base, heads } = await trained();
    const source = [...byteTokenizer().encode('THE LINNET SINGS ON THE WIRE'), ...model.eosIds];
    await using engine = await DecodingEngine.create(model, base);
    await using drafting = await MedusaHeads.create(medusa, model.sizes, heads);
    for (const config of [{}, { temperature: 0.8, seed: 3 }]) {
      const options = async (): Promise<GenerateOptions> => ({
        promptTokens: [],
        maxTokens: 30,
        ignoreEos: true,
        sampler: new Sampler(config),
        state: engine.newState(await engine.encode(source)),
      });
      const expected = await generateToEnd(engine, await options());
      const statistics = new SpeculationStatistics();
      const method = speculative(new MedusaDrafter(drafting), { statistics });
      const found = await generateToEnd(engine, { ...(await options()), method });
      expect(found.tokens).toEqual(expected.tokens);
      expect(statistics.summary.tokensPerStep).toBeGreaterThan(1.3);
    }

    const folder = join(place, 'model');
    const complete = async (unfinished: string): Promise<void> => {
      const checkpoint = await openCheckpoint(unfinished);
      const fingerprint = await checkpoint.fingerprint();
      await checkpoint.close();
      await saveMedusaHeads(unfinished, { config: { heads: 3, layers: 1 }, parameters: heads, base: fingerprint });
    };
    const tokenizerFiles = tokenizerFileContents(byteTokenizerFiles());
    await saveModel(folder, { model, parameters: base }, { tokenizerFiles, dtype: 'F32', complete });
    const words = ['--prompt', 'THE LINNET SINGS', '--max-tokens', '24', '--ignore-eos'];
    const plain = await runJson('generate', folder, ...words);
    expect(await runJson('generate', folder, ...words, '--speculate', 'medusa')).toMatchObject({
      tokens: plain.tokens,
    });
    for (const dtype of ['f32', 'int4']) {
      const out = join(place, dtype);
      const reported = await runJson('export', folder, '--dtype', dtype, '--skip-report', '--out', out);
      expect(reported.medusa).toMatchObject({ heads: 3, layers: 1 });
      const own = await runJson('generate', out, ...words);
      if (dtype === 'f32') expect(own.tokens).toEqual(plain.tokens);
      const drafted = await runJson('generate', out, ...words, '--speculate', 'auto');
      expect(drafted).toMatchObject({ tokens: own.tokens, speculation: { drafter: 'medusa+lookup' } });
    }
    expect((await runCaptured(['inspect', folder])).stdout).toMatch(/Medusa +3 heads/);
  });
});
