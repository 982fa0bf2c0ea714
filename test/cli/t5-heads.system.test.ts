/** Trained heads of a T5 draft for its decoder, in its folder and in exports of it. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { medusa, type Parameters, pairHeadsJob } from '../models/t5-heads.ts';
import { trainedPairHeads } from '../training/trained-heads.ts';
import { runCaptured, runJson } from './captured-cli.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { song } from './text-data.ts';
import { openCheckpoint } from '../../src/checkpoint/huggingface.ts';
import { saveModel } from '../../src/checkpoint/load-model.ts';
import { saveMedusaHeads } from '../../src/checkpoint/medusa-files.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { type GenerateOptions, generateToEnd } from '../decoding/generated.ts';
import { Sampler } from '../../src/decoding/sampler.ts';
import { MedusaDrafter } from '../../src/decoding/speculation/drafters/medusa-drafter.ts';
import { SpeculationStatistics, speculative } from '../../src/decoding/speculation/speculative.ts';
import { MedusaHeads } from '../../src/models/medusa/medusa-heads.ts';
import type { EncoderDecoderModel } from '../../src/models/model.ts';
import { tokenizerFileContents } from '../../src/tokenizer/byte-level.ts';
import { byteTokenizer, byteTokenizerFiles } from '../../src/tokenizer/bytes.ts';
import { train } from '../../src/training/trainer.ts';
import { sequenceObjective } from '../../src/training/objectives/encoders.ts';

describe('trained heads of a T5', () => {
  const place = suiteFolder();

  /** A T5 that has learned the song, and heads for it. */
  async function trained(): Promise<{ model: EncoderDecoderModel; base: Parameters; heads: Parameters }> {
    const start = pairHeadsJob({ steps: 150 });
    const { model, dataset } = start;
    const learned = await train({ ...start, objective: sequenceObjective(model, dataset.lengths) });
    const { base, heads } = await trainedPairHeads({ ...start, parameters: learned.parameters });
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
      const reported = await runJson('export', folder, '--dtype', dtype, '--out', out);
      expect(reported.medusa).toMatchObject({ heads: 3, layers: 1 });
      const own = await runJson('generate', out, ...words);
      if (dtype === 'f32') expect(own.tokens).toEqual(plain.tokens);
      const drafted = await runJson('generate', out, ...words, '--speculate', 'auto');
      expect(drafted).toMatchObject({ tokens: own.tokens, speculation: { drafter: 'medusa+auto' } });
    }
    expect((await runCaptured(['inspect', folder])).stdout).toMatch(/Medusa +3 heads/);
  });

  it('are trained by the command, on pairs and on plain text', async () => {
    const base = join(place, 'base');
    await saveTinyModel(base, 1, 't5');
    const pairs = join(place, 'pairs.jsonl');
    const words = song.split(' ');
    const rows = words.slice(4).map((_, i) => words.slice(i, i + 4).join(' '));
    const lines = rows.map((target) => JSON.stringify({ loud: target.toUpperCase(), target, text: target }));
    await writeFile(pairs, lines.join('\n'));
    const fields = ['--source-field', 'loud', '--target-field', 'target'];
    const settings = ['--steps', '8', '--lr', '1e-2', '--batch', '4', '--length', '32', '--heads', '2'];
    const out = join(place, 'paired');
    const train = ['medusa', 'train', base, '--data', pairs];
    const reported = await runJson(...train, ...fields, ...settings, '--out', out);
    expect(reported).toMatchObject({ heads: 2, steps: 8 });
    expect(reported.heldOutTokens).toBeGreaterThan(10);
    const half = await runCaptured([...train, '--source-field', 'loud', ...settings, '--out', join(place, 'half')]);
    expect(half.stderr).toMatch(/go together/);
    const spans = await runJson(...train, '--held-out', '6', ...settings, '--out', join(place, 'spans'));
    expect(spans.heldOutTokens).toBeGreaterThan(10);

    const prompt = ['--prompt', 'THE LINNET', '--max-tokens', '16', '--ignore-eos'];
    const plain = await runJson('generate', out, ...prompt);
    const drafted = await runJson('generate', out, ...prompt, '--speculate', 'medusa');
    expect(drafted.tokens).toEqual(plain.tokens);
  });
});
