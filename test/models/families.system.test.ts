/** Every family through the same commands: what is said, changed, trained, measured, checked and generated. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadModel } from '../../src/checkpoint/load-model.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { describeCausalModel, describeModel, supportedFamilies } from '../../src/models/families/index.ts';
import { consequencesOf } from '../../src/nn/parameters.ts';
import { runCaptured, runJson } from '../cli/captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { writeBook } from '../cli/text-data.ts';
import { randomParameters, randomTokens } from './tiny-llama.ts';
import { saveTinyModel, tinyConfig } from './tiny-model.ts';

const causalFamilies = supportedFamilies.filter((family) => describeModel(tinyConfig(family)).kind === 'causal');

/** What the augmented mixer is in families that have a form of their own, and which attentions can have it. */
/** The first layer is Gated DeltaNet, of 20 filters of four weights and two numbers for each of two states. */
const deltaNets = { mixerParameters: 20 * 4 + 4 + 11, kind: 'linear', layers: [1, 1] } as const;

const augmented: Readonly<
  Record<string, { mixerParameters: number; kind: string; layers?: readonly [number, number] }>
> = {
  // Next to attention, every layer has Mamba-2, of 40 filters of four weights with biases, and three numbers for each of four heads.
  falcon_h1: { mixerParameters: 2 * (40 * 5 + 12 + 11), kind: 'linear' },
  flash: { mixerParameters: 2 * (5 + 32), kind: 'gau' },
  // The first layer keeps its window.
  gemma3_text: { mixerParameters: 11, kind: 'linear', layers: [1, 1] },
  // The first layer is Mamba-2, of 44 filters of four weights with biases, and three numbers for each of four heads.
  granitemoehybrid: { mixerParameters: 44 * 5 + 12 + 11, kind: 'linear', layers: [1, 1] },
  // The first layer has a short convolution, of 16 filters of three weights.
  lfm2: { mixerParameters: 16 * 3 + 11, kind: 'linear', layers: [1, 1] },
  ...{ olmo_hybrid: deltaNets, qwen3_5: deltaNets, qwen3_5_text: deltaNets, qwen3_next: deltaNets },
  // Two layers of the encoder and two of the decoder; there is no convolution from one text to another.
  t5: { mixerParameters: 4 * (1 + 2 * 5), kind: 't5-linear', layers: [0, 3] },
};

const folder = suiteFolder();
const place = (family: string, name: string): string => join(folder, `${family}-${name}`);

beforeAll(async () => {
  await writeBook(join(folder, 'book.txt'));
  for (const family of supportedFamilies) {
    await saveTinyModel(place(family, 'base'), 1, family);
    const mixer = ['--mixer', 'augmented', '--group', '4', '--kernel', '5'];
    await runJson('linearize', place(family, 'base'), ...mixer, '--out', place(family, 'augmented'));
  }
});

it('refuses unknown families and lists the known ones', () => {
  expect(() => describeModel({ model_type: 'mamba' })).toThrow(`supported: ${supportedFamilies.join(', ')}`);
});

describe.each(supportedFamilies)('%s', (family) => {
  it('is inspected', async () => {
    const reported = await runJson('inspect', place(family, 'augmented'));
    const { parameters } = await loadModel(place(family, 'augmented'));
    const numbers = [...parameters.values()].reduce((total, { data }) => total + data.length, 0);
    expect(reported).toMatchObject({ family, parameters: numbers });
    const { mixerParameters, kind, layers = [0, 1] } = augmented[family] ?? { mixerParameters: 22, kind: 'linear' };
    expect(reported).toMatchObject({ mixerParameters });
    expect(Array.isArray(reported.mixers) && reported.mixers.at(layers[0] === 1 ? 1 : 0)).toMatchObject({
      layers,
      config: { kind, group: 4 },
    });
  });

  it('decays its matrices and embeddings, not its norms, biases and mixer parameters', async () => {
    const { model } = await loadModel(place(family, 'augmented'));
    for (const [name, { role }] of model.parameters) {
      const scale =
        /norm|ln_|bias|_factor$|dwconv|conv\.conv|conv1d|A_log|\.D$|offset_scale|abs_pos|to_logits\.0/i.test(name);
      expect(consequencesOf(role).decays, name).toBe(!scale);
    }
  });
});

describe.each(causalFamilies)('%s', (family) => {
  it('has a state of constant size', async () => {
    expect(await runJson('inspect', place(family, 'augmented'))).toMatchObject({
      kind: 'causal',
      stateBytesPerToken: 0,
    });
  });

  it.each(['base', 'augmented'])('%s leaks nothing and decodes what it computes', async (name) => {
    const report = await runJson('check', place(family, name));
    expect(report).toMatchObject({ leak: false, ok: true });
  });

  it('learns, is measured and generates', async () => {
    const book = join(folder, 'book.txt');
    const tuned = place(family, 'tuned');
    const perplexity = async (model: string): Promise<number> =>
      Number((await runJson('eval', 'perplexity', model, '--data', book, '--length', '32')).perplexity);
    const training = ['--steps', '30', '--lr', '0.01', '--batch', '2', '--length', '32'];
    await runJson('finetune', place(family, 'augmented'), '--data', book, ...training, '--out', tuned);
    expect(await perplexity(tuned)).toBeLessThan((await perplexity(place(family, 'augmented'))) / 2);
    const { tokens, text } = await runJson(
      'generate',
      tuned,
      '--prompt',
      'It was',
      '--max-tokens',
      '8',
      '--ignore-eos',
    );
    expect(tokens).toHaveLength(8);
    expect(typeof text).toBe('string');
  });

  it('is pre-trained from a config.json', async () => {
    const config = place(family, 'config.json');
    await writeFile(config, JSON.stringify(tinyConfig(family)));
    const out = place(family, 'pretrained');
    const training = ['--steps', '2', '--lr', '0.01', '--batch', '2', '--length', '32'];
    await runJson('pretrain', config, '--data', join(folder, 'book.txt'), ...training, '--out', out);
    expect((await loadModel(out)).model.family).toBe(family);
  });
});

const limited = causalFamilies.filter((family) =>
  Number.isFinite(describeCausalModel(tinyConfig(family)).positions.limit),
);

it('ends somewhere in families with a table of positions alone', () => {
  expect(limited).toEqual(['gpt2']);
});

describe.each(limited)('%s', (family) => {
  it('stops with a clear error where its positions end', async () => {
    const model = describeCausalModel(tinyConfig(family));
    const { limit } = model.positions;
    const engine = await DecodingEngine.create(model, randomParameters(model, 1));
    try {
      const state = engine.newState();
      await engine.prefill(state, randomTokens(model, limit, 2));
      expect(state.length).toBe(limit);
      await expect(engine.advance(state, 1)).rejects.toThrow(new RegExp(`position ${limit} is beyond`));
      expect(state.length).toBe(limit);
    } finally {
      await engine.dispose();
    }
    // A window of n tokens gives the model n − 1 to read.
    const long = await runCaptured([
      ...['eval', 'perplexity', place(family, 'base'), '--data', join(folder, 'book.txt')],
      ...['--length', String(limit + 2), '--json'],
    ]);
    expect(long.exitCode).not.toBe(0);
    expect(long.stdout).toMatch(new RegExp(`"code":"INPUT".*at most ${limit} tokens`));
  });
});

describe('learned positions', () => {
  const generate = ['generate', place('gpt2', 'augmented'), '--prompt', 'ab', '--max-tokens', '500', '--ignore-eos'];
  it.each([[], ['--speculate', 'lookup'], ['--beams', '2']])('end a text: %j', async (...words) => {
    const { tokens, finish } = await runJson(...generate, ...words);
    expect(finish).toBe('length');
    expect(tokens).toHaveLength(64 - 3);
  });

  it('bound rows of training', async () => {
    const learn = ['finetune', place('gpt2', 'base'), '--data', join(folder, 'book.txt'), '--out', place('gpt2', 'x')];
    const { exitCode, stderr } = await runCaptured(learn);
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 2 });
    expect(stderr).toContain('--length is 512; the model reads at most 64 tokens');
  });

  it('bound contexts of measurements', async () => {
    const { rows } = await runJson('bench', 'decode', place('gpt2', 'augmented'), '--steps', '4');
    expect(rows).toMatchObject([{ context: expect.any(Number) as unknown }]);
  });
});
