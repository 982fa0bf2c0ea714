/** `linnet study recall`, `linnet study needle`, `linnet eval positions` and `linnet eval agreement`. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { saveModel } from '../../src/checkpoint/load-model.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import { parameterCount } from '../../src/nn/parameters.ts';
import { Random } from '../../src/random.ts';
import { errorOf, linnet, runJson } from './captured-cli.ts';
import { linearizedModels } from '../models/linearized-models.ts';
import { writeBook } from './text-data.ts';

const { folder, base, augmented } = linearizedModels();
const book = join(folder, 'book.txt');

beforeAll(() => writeBook(book, 10));

describe('study recall', () => {
  it('trains the models of a plan and tells their accuracy and state', async () => {
    const plan = join(folder, 'mqar.json');
    const config = {
      ...{ model_type: 'llama', vocab_size: 16, hidden_size: 16, intermediate_size: 16 },
      ...{ num_hidden_layers: 1, num_attention_heads: 1, max_position_embeddings: 64 },
    };
    const content = {
      ...{ version: 1, task: 'mqar', title: 'small', config, methods: { softmax: { preset: 'softmax' } }, seeds: [1] },
      lessons: [{ length: 16, pairs: 2, steps: 2, batch: 2, learningRate: 0.001 }],
      tests: [{ length: 16, pairs: 2, rows: 5 }],
    };
    await writeFile(plan, JSON.stringify(content));
    const recall = (...words: string[]) => ['study', 'recall', '--plan', plan, ...words];
    const reported = await runJson(...recall('--out', join(folder, 'small')));
    // Keys and values of 16 numbers for each of 16 tokens.
    expect(reported).toMatchObject({ trials: [{ method: 'softmax', tests: [{ questions: 10, stateBytes: 2048 }] }] });
    const sized = { ...content, deviation: 0.1, sizes: { narrow: { hidden_size: 8 }, wide: {} } };
    await writeFile(plan, JSON.stringify(sized));
    const out = join(folder, 'sized');
    const first = (await runJson(...recall('--out', out))) as { trials: unknown[] };
    expect(first).toMatchObject({ trials: [{ size: 'narrow', tests: [{ stateBytes: 1024 }] }, { size: 'wide' }] });
    const stored = join(out, 'trials', 'softmax--narrow--seed_1.json');
    const before = await readFile(stored, 'utf8');
    // What has been measured is not measured again; another seed is.
    await writeFile(plan, JSON.stringify({ ...sized, seeds: [1, 2] }));
    const second = await runJson(...recall('--out', out));
    expect(second).toMatchObject({ trials: [...first.trials, { seed: 2 }, { seed: 2, size: 'wide' }] });
    expect(await readFile(stored, 'utf8')).toBe(before);
    // Nor what another run has measured, whose results are lines of a file.
    const results = join(folder, 'mqar.jsonl');
    await writeFile(results, `${JSON.stringify(JSON.parse(before))}\n`);
    const known = await runJson(...recall('--out', join(folder, 'known'), '--known', results));
    expect(known).toMatchObject({ trials: [first.trials[0], {}, {}, {}] });
    await writeFile(results, '{}\n');
    expect(errorOf(await linnet(...recall('--known', results, '--out', out, '--json'))).code).toBe('FORMAT');
    const lost = { preset: 'window', memory: 'none', initial: { memory_score: 0 } };
    await writeFile(plan, JSON.stringify({ ...content, methods: { lost } }));
    expect(errorOf(await linnet(...recall('--out', join(folder, 'refused'), '--json'))).code).toBe('CONFIG');
    await writeFile(plan, JSON.stringify({ ...content, methods: { odd: { preset: 'nothing' } } }));
    expect(errorOf(await linnet(...recall('--out', join(folder, 'refused'), '--json'))).code).toBe('CONFIG');
  });

  it('measures a model as it is', async () => {
    const reported = await runJson(
      ...['study', 'recall', '--set', `models=["${base}"]`],
      ...['--set', 'tests=[{"length": 32, "pairs": 4, "rows": 3}]'],
    );
    expect(reported).toMatchObject({ trials: [{ loss: null, tests: [{ length: 32, questions: 12 }] }] });
  });
});

/** The words of the study with fields of its plan. */
function needle(models: readonly string[], ...fields: readonly string[]): string[] {
  const all = [`models=${JSON.stringify(models)}`, ...fields];
  return ['study', 'needle', ...all.flatMap((field) => ['--set', field])];
}

describe('study needle', () => {
  it('asks models at every length and depth, and draws what they found', async () => {
    const out = join(folder, 'needle');
    const words = ['task=single', 'lengths=[700, 900]', 'depths=[0, 1]', 'questions=2', `data=${book}`];
    const how = ['answer=choose', 'answerTokens=16'];
    const reported = await runJson(...needle([base, augmented], ...words, ...how), '--out', out);
    const cells = [700, 900].flatMap((length) => [0, 1].map((depth) => ({ length, depth, questions: 2 })));
    expect(reported).toMatchObject({ task: 'single', chance: 0.125, models: [{ cells }, { model: augmented, cells }] });
    expect(await readFile(join(out, 'needle.svg'), 'utf8')).toContain('Needle in a haystack: single');
  });

  it('lets a model answer, and says which lengths are too short', async () => {
    const words = ['lengths=[700]', 'depths=[0.5]', 'questions=1', `data=${book}`, 'answerTokens=4'];
    const reported = await runJson(...needle([base], 'task=multi-key', ...words));
    expect(reported).toMatchObject({ chance: 0, models: [{ cells: [{ length: 700, depth: 0.5 }] }] });
    expect(errorOf(await linnet(...needle([base], 'lengths=[64]', `data=${book}`), '--json')).code).toBe('INPUT');
  });
});

describe('eval positions', () => {
  it('agrees with perplexity of the whole text', async () => {
    const reported = await runJson('eval', 'positions', '--models', base, augmented, '--data', book, '--length', '60');
    const whole = await runJson('eval', 'perplexity', base, '--data', book, '--length', '60', '--mode', 'documents');
    expect(reported).toMatchObject({ models: [{ positions: [{ from: 1, tokens: 59 }] }, { model: augmented }] });
    const { models } = reported as { models: { positions: { perplexity: number }[] }[] };
    expect(models[0].positions[0].perplexity).toBeCloseTo(Number(whole.perplexity), 1);
  });

  it('says how much text there is', async () => {
    const words = ['--models', base, '--data', book, '--length', '9999'];
    expect(errorOf(await linnet('eval', 'positions', ...words, '--json')).code).toBe('INPUT');
  });

  it('scores the same tokens after less and more of the text', async () => {
    const words = ['--models', base, augmented, '--data', book, '--after', '40,8', '--scored', '20'];
    const reported = await runJson('eval', 'positions', ...words);
    const depths = [{ after: 8, ratio: 1, ratioError: 0 }, { after: 40 }];
    expect(reported).toMatchObject({ length: 60, scored: 20, models: [{ depths }, { model: augmented, depths }] });
    // After all that precedes them, the tokens are the last of the whole text.
    const perplexityOf = async (length: string): Promise<number> => {
      const { models } = await runJson('eval', 'positions', '--models', base, '--data', book, '--length', length);
      return (models as { positions: { perplexity: number }[] }[])[0].positions[0].perplexity;
    };
    const rest = (59 * Math.log(await perplexityOf('60')) - 39 * Math.log(await perplexityOf('40'))) / 20;
    const { models } = reported as { models: { depths: { perplexity: number; ratio: number }[] }[] };
    expect(Math.log(models[0].depths[1].perplexity)).toBeCloseTo(rest, 4);
    expect(models[0].depths[1].ratio).toBeCloseTo(models[0].depths[1].perplexity / models[0].depths[0].perplexity, 4);
    const short = ['--models', base, '--data', book, '--length', '50', '--after', '40', '--scored', '20'];
    expect(errorOf(await linnet('eval', 'positions', ...short, '--json')).code).toBe('INPUT');
  });
});

describe('eval agreement', () => {
  const words = ['--data', book, '--prompts', '5', '--length', '8', '--tokens', '4', '--distances', '4,20'];

  it('compares models with their original', async () => {
    const reported = await runJson('eval', 'agreement', base, base, augmented, ...words);
    const same = { greedyLength: 4, sameNext: 1, kl: 0, p: 1, answers: { wins: 0, losses: 0 } };
    expect(reported).toMatchObject({
      ...same,
      original: base,
      prompts: 5,
      recall: [{ distance: 4 }, { distance: 20 }],
    });
    expect(reported).toMatchObject({ models: [{ model: base, ...same }, { model: augmented }] });
    const { models } = reported as { models: { kl: number; positions: { from: number; to: number }[] }[] };
    expect(models[1].kl).toBeGreaterThan(0);
    expect(models[1].positions).toMatchObject([
      { from: 0, to: 0 },
      { from: 1, to: 2 },
      { from: 3, to: 3 },
    ]);
  });

  it('goes by layers where two engines do not fit', async () => {
    const [wide, converted] = ['wide', 'wide-converted'].map((name) => join(folder, name));
    const sizes = { vocab_size: 259, hidden_size: 160, intermediate_size: 640, num_hidden_layers: 12 };
    const config = { model_type: 'llama', ...sizes, num_attention_heads: 4, max_position_embeddings: 64 };
    const model = describeCausalModel(config);
    const parameters = initializeParameters(model, new Random(1), 0.1);
    await saveModel(wide, { model, parameters }, { tokenizerFiles: { from: base } });
    await runJson('linearize', wide, '--mixer', 'hedgehog', '--group', '4', '--out', converted);
    const compare = ['eval', 'agreement', wide, wide, converted, ...words];
    const { stderr } = await linnet(...compare, '--memory', '20MiB');
    const least = Number(/takes about ([\d.]+) MiB/.exec(stderr)?.[1]) + 1;
    const engines = 240 + (10 * parameterCount(model.parameters)) / 2 ** 20;
    expect(least).toBeLessThan(engines);
    const reported = await runJson(...compare, '--memory', `${least}MiB`);
    const same = { sameNext: 1, kl: 0, answers: { wins: 0, losses: 0 } };
    expect(reported).toMatchObject({ ...same, prompts: 5, models: [{ model: wide }, { model: converted }] });
    const { models } = reported as { models: { kl: number }[] };
    const { models: exact } = (await runJson(...compare)) as { models: { kl: number }[] };
    // The texts that are compared are written by matrices in 4 bits.
    expect(models[1].kl / exact[1].kl).toBeCloseTo(1, 0);
  });

  it('needs a converted model', async () => {
    expect(errorOf(await linnet('eval', 'agreement', base, ...words, '--json')).code).toBe('USAGE');
  });
});
