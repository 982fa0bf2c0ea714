import { copyFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { suiteFolder } from '../../../test/scratch-folder.ts';
import { byteTokenizerFiles } from '../../tokenizer/bytes.ts';
import { tokenizerFileContents } from '../../tokenizer/byte-level.ts';
import type { RunTrialsOptions } from '../frame/run-study.ts';
import { planSource, trialName } from '../frame/study.ts';
import { openTrials } from '../frame/trial-store.ts';
import { studyTrialHandler } from '../registry.ts';
import type { SweepResult } from './plan.ts';
import { summarizeSweep } from './report.ts';
import { sweepStudy, type SweepTrial } from './study.ts';

type Sweep = Awaited<ReturnType<typeof sweepStudy.open>>;
const runStudy = (
  open: Sweep,
  store: RunTrialsOptions<never>['store'],
  options: RunTrialsOptions<SweepTrial> = {},
  onResult?: (result: unknown, isKnown: boolean) => void,
): Promise<SweepResult[]> => open.runTrials({ ...options, store }, onResult);
const { place, identity } = sweepStudy.definition;
const nameOf = (trial: SweepTrial): string => trialName(place(trial));

const folder = suiteFolder();
const planFile = join(folder, 'plan.json');

beforeAll(async () => {
  for (const [name, content] of tokenizerFileContents(byteTokenizerFiles()))
    await writeFile(join(folder, name), content);
  const line = 'the quick brown fox jumps over the lazy dog and runs away\n';
  const documents = Array.from({ length: 12 }, (_, i) => JSON.stringify({ text: `${i} ${line.repeat(6)}` }));
  await writeFile(join(folder, 'text.jsonl'), `${documents.join('\n')}\n`);
});

function study(fields: Record<string, unknown> = {}): Promise<Sweep> {
  const plan = {
    version: 1,
    title: 'a study',
    data: ['text.jsonl'], // from the plan's folder
    heldOut: 2,
    windows: 3,
    tokenizer: '.',
    models: {
      small: {
        config: {
          model_type: 'llama',
          vocab_size: 260,
          hidden_size: 8,
          intermediate_size: 16,
          num_hidden_layers: 1,
          num_attention_heads: 2,
          max_position_embeddings: 64,
        },
      },
    },
    methods: { softmax: { preset: 'softmax' }, local: { preset: 'flash-local', group: 4, kernel: 3 } },
    seeds: [1, 2],
    training: { steps: 4, batch: 2, length: 16, learningRate: 0.01 },
    ...fields,
  };
  return sweepStudy.open(plan, planSource(planFile));
}

const perplexities = (results: readonly SweepResult[]): number[] =>
  results.map(({ perplexity = Number.NaN }) => perplexity);

describe('a study', () => {
  it('runs every method with every seed, and finds its results again', async () => {
    const { trials } = await study();
    expect(trials.map(nameOf)).toEqual([
      'small--softmax--plain--seed_1',
      'small--local--plain--seed_1',
      'small--local--augmented--seed_1',
      'small--softmax--plain--seed_2',
      'small--local--plain--seed_2',
      'small--local--augmented--seed_2',
    ]);
    const out = await openTrials(join(folder, 'whole'));
    const first = await runStudy(await study(), out);
    const known: boolean[] = [];
    const second = await runStudy(await study(), out, {}, (_, wasKnown) => known.push(wasKnown));
    expect(known).toEqual([true, true, true, true, true, true]);
    expect(second).toEqual(first);
    expect(new Set(perplexities(first)).size).toBeGreaterThan(4);
    expect((await readdir(join(folder, 'whole', 'trials'))).every((file) => file.endsWith('.json'))).toBe(true);
  });

  it('goes on inside a trial after a stop, to the same numbers', async () => {
    const unbroken = await runStudy(await study(), await openTrials(join(folder, 'unbroken')));
    const out = await openTrials(join(folder, 'broken'));
    const stop = new AbortController();
    const stopped = runStudy(await study(), out, {
      signal: stop.signal,
      snapshotEvery: 1,
      onUpdate: ({ method, augmented }, { update }) => {
        if (method === 'local' && augmented && update === 2) stop.abort();
      },
    });
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
    const updates: number[] = [];
    const resumed = await runStudy(await study(), out, { onUpdate: (_, { update }) => updates.push(update) });
    expect(updates[0]).toBe(3);
    expect(perplexities(resumed)).toEqual(perplexities(unbroken));
    expect(resumed.map(({ loss }) => loss)).toEqual(unbroken.map(({ loss }) => loss));
    // Not only the part of the curve after the stop.
    expect(resumed.map(({ curve }) => curve)).toEqual(unbroken.map(({ curve }) => curve));
  });

  it('runs a trial that comes from a queue as it runs it here', async () => {
    const open = await study({ seeds: [1] });
    const [first] = await open.runTrials();
    const handle = studyTrialHandler({});
    const job = { study: 'sweep', plan: open.given, planFile, identity: identity(open.trials[0]) };
    const context = { signal: new AbortController().signal, folder: join(folder, 'job') };
    const { perplexity, curve } = first;
    expect(await handle({ ...job, snapshotEvery: 3 }, context)).toMatchObject({ perplexity, curve });
    const other = { ...job, identity: 'of another text', snapshotEvery: 3 };
    await expect(handle(other, context)).rejects.toMatchObject({ code: 'MISMATCH' });
    await expect(handle({ ...other, study: 'toString' }, context)).rejects.toMatchObject({ code: 'INPUT' });
  });

  it('does not mix results of different budgets', async () => {
    const out = await openTrials(join(folder, 'budgets'));
    const methods = { softmax: { preset: 'softmax' } };
    await runStudy(await study({ methods, seeds: [1] }), out);
    const longer = await study({ methods, seeds: [1], training: { steps: 5, batch: 2, length: 16 } });
    await expect(runStudy(longer, out)).rejects.toMatchObject({ code: 'MISMATCH' });
  });

  it('keeps trials apart whose names are nearly the same, and takes no result for that of another', async () => {
    const out = await openTrials(join(folder, 'names'));
    const softmax = { preset: 'softmax' };
    const both = await study({ methods: { 'aug 8': softmax, 'aug.8': softmax }, seeds: [1] });
    expect(new Set(both.trials.map(nameOf)).size).toBe(2);
    await runStudy(both, out);
    const [first, second] = both.trials.map((trial) => join(folder, 'names', 'trials', `${nameOf(trial)}.json`));
    await copyFile(first, second);
    await expect(runStudy(both, out)).rejects.toMatchObject({ code: 'MISMATCH' });
  });

  it('refuses a vocabulary that the tokenizer exceeds', async () => {
    const config = { model_type: 'llama', vocab_size: 100, hidden_size: 8, intermediate_size: 8 };
    const tiny = { ...config, num_hidden_layers: 1, num_attention_heads: 1, max_position_embeddings: 64 };
    await expect(study({ models: { tiny: { config: tiny } } })).rejects.toMatchObject({ code: 'MISMATCH' });
  });
});

describe('a study of models that are not causal', () => {
  // Three ids beyond the 258 of the tokenizer stand for CLS, SEP and mask, and for sentinels.
  const bert = {
    model_type: 'bert',
    vocab_size: 264,
    max_position_embeddings: 32,
    hidden_size: 8,
    intermediate_size: 16,
    num_hidden_layers: 2,
    num_attention_heads: 2,
  };
  const t5 = {
    model_type: 't5',
    vocab_size: 264,
    d_model: 8,
    d_kv: 4,
    d_ff: 16,
    num_layers: 1,
    num_heads: 2,
    n_positions: 32,
    pad_token_id: 256,
    decoder_start_token_id: 256,
  };
  const methods = { softmax: { preset: 'softmax' }, augmented: { preset: 'augmented', group: 4, kernel: 3 } };
  const fields = { models: { BERT: { config: bert }, T5: { config: t5 } }, methods, seeds: [1] };

  it('trains encoders on masked tokens and encoder-decoder models on spans, and scores the same of held-out text', async () => {
    const prepared = await study(fields);
    const [first, , third] = prepared.trials;
    const inputsOf = ({ lesson, described, settings }: SweepTrial) =>
      Object.keys(lesson.prepare(described, settings).dataset.inputs);
    expect(inputsOf(first)).toContain('mask');
    expect(inputsOf(third)).toContain('sourceMask');
    const out = await openTrials(join(folder, 'kinds'));
    const results = await runStudy(prepared, out);
    expect(results.map(({ model, method }) => `${model} ${method}`)).toEqual([
      'BERT softmax',
      'BERT augmented',
      'T5 softmax',
      'T5 augmented',
    ]);
    // Random weights know nothing, and four updates are few: near one in 264.
    for (const perplexity of perplexities(results)) expect(Math.abs(Math.log(perplexity / 264))).toBeLessThan(0.7);
    expect(new Set(perplexities(results)).size).toBe(4);
    for (const { method, description } of results)
      expect(description.includes('convolution')).toBe(method === 'augmented');
    // Two attentions are replaced in either: what the decoder reads of the encoder stays.
    const [bertPlain, bertAugmented, t5Plain, t5Augmented] = results.map(({ parameters }) => parameters);
    expect(t5Augmented - t5Plain).toBe(bertAugmented - bertPlain);
    expect(bertAugmented).toBeGreaterThan(bertPlain);
    expect(await runStudy(await study(fields), out)).toEqual(results);
  });

  it('learns: the perplexity of what is masked falls with the updates', async () => {
    const longer = { ...fields, methods: { softmax: { preset: 'softmax' } } };
    const training = { steps: 60, batch: 4, length: 16, learningRate: 0.02 };
    const results = await runStudy(await study({ ...longer, training }), await openTrials(join(folder, 'longer')));
    for (const perplexity of perplexities(results)) expect(perplexity).toBeLessThan(60);
  });

  it('tells trials of other sentinels apart', async () => {
    const { trials } = await study(fields);
    const identities = trials.map(identity);
    expect(new Set(identities).size).toBe(4);
    const wide = { ...t5, vocab_size: 266 };
    const others = await study({ ...fields, models: { T5: { config: wide } } });
    expect(others.trials.map(identity)).not.toContain(identities[2]);
  });

  it('refuses an encoder without room for CLS, SEP and mask', async () => {
    const small = { ...bert, vocab_size: 259 };
    await expect(study({ ...fields, models: { BERT: { config: small } } })).rejects.toThrow(/vocab_size of at least/);
  });
});

describe('summarizeSweep', () => {
  it('gives mean and sample deviation over seeds', () => {
    const trial = {
      model: 'm',
      method: 'a',
      augmented: false,
      loss: 1,
      parameters: 5,
      tokensPerSecond: 2,
      seconds: 1,
      description: '',
    };
    const [row] = summarizeSweep([2, 4, 9].map((perplexity, seed) => ({ ...trial, seed, perplexity })));
    expect(row.perplexity).toBe(5);
    expect(row.deviation).toBeCloseTo(Math.sqrt((9 + 1 + 16) / 2), 12);
    expect(summarizeSweep([{ ...trial, seed: 0, perplexity: 3 }])[0].deviation).toBeNaN();
  });
});
