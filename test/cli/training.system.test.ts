/**
 * Training from the command line, in processes of its own: what it prints and leaves behind, and that a run that is
 * killed or stopped at any moment and resumed ends with the same bytes as one that was left alone.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { Random } from '../../src/random.ts';
import { readRun } from '../../src/report/record.ts';
import { jsonOf, lastJson, runCaptured } from './captured-cli.ts';
import { startCli, type StartedCli } from './cli-process.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { writeJsonlTexts } from './text-data.ts';
import { saveTinyModel, tinyConfig } from '../models/tiny-model.ts';
import { weightsFile } from './trained-runs.ts';

const updates = 60;
const folder = suiteFolder();
const model = join(folder, 'model');
const data = join(folder, 'stories.jsonl');

beforeAll(async () => {
  await saveTinyModel(model);
  const random = new Random(3);
  const words = ['linnet', 'sings', 'wire', 'wind', 'house', 'the', 'round', 'over'];
  const story = (): string => Array.from({ length: 40 }, () => words[random.integer(words.length)]).join(' ');
  await writeJsonlTexts(data, Array.from({ length: 20 }, story));
});

/** Runs a command that must succeed in a process of its own, and returns its JSON. */
async function json(...words: string[]): Promise<Record<string, unknown>> {
  return jsonOf((await startCli([...words, '--json']).ended).run);
}

/** The command of a run of `updates` updates: snapshots are rarer than updates, so that a resumed run repeats some. */
function tuning(out: string, ...more: string[]): string[] {
  const settings = ['--steps', String(updates), '--lr', '1e-2', '--batch', '4', '--micro-batch', '2', '--length', '24'];
  const schedule = ['--warmup', '3', '--weight-decay', '0.1', '--seed', '7', '--snapshot-every', '4'];
  return ['finetune', model, '--data', data, ...settings, ...schedule, '--out', out, ...more];
}

/** Metrics lines that a run has written so far. */
function loggedUpdates(out: string): number {
  const file = join(`${out}.run`, 'metrics.jsonl');
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').length - 1 : 0;
}

/** Waits until a run has logged `count` updates, or its process has ended. */
async function untilLogged({ child }: StartedCli, out: string, count: number): Promise<void> {
  while (child.exitCode === null && child.signalCode === null && loggedUpdates(out) < count) await sleep(1);
}

async function expectRefusal(words: readonly string[], message: string, code = 3): Promise<void> {
  const { exitCode, stderr } = await runCaptured(words);
  expect(exitCode).toBe(code);
  expect(stderr).toContain(message);
}

describe('finetune', () => {
  const unbroken = join(folder, 'unbroken');
  let reported: Record<string, unknown> = {};
  beforeAll(async () => {
    reported = await json(...tuning(unbroken));
  });

  it('tells loss, steps, speed and where things are', () => {
    expect(reported).toMatchObject({ out: unbroken, run: `${unbroken}.run`, steps: updates, tokens: updates * 4 * 24 });
    // From untrained (0.5 deviations: far above ln 258 = 5.6) to words of the stories.
    expect(reported.loss).toBeGreaterThan(0);
    expect(reported.loss).toBeLessThan(4.5);
    expect(reported.tokensPerSecond).toBeGreaterThan(0);
    expect(reported.seconds).toBeGreaterThan(0);
  });

  it('saves a model that differs from the one it began with in every matrix', async () => {
    const before = await loadCausalModel(model);
    const after = await loadCausalModel(unbroken);
    expect(after.model.toJson()).toEqual(before.model.toJson());
    for (const [name, { data: old }] of before.parameters) expect(after.parameters.get(name)?.data).not.toEqual(old);
    expect(await readdir(unbroken)).toEqual(expect.arrayContaining(['config.json', 'tokenizer.json']));
  });

  it('records the run', async () => {
    const { record, metrics } = await readRun(`${unbroken}.run`);
    expect(record).toMatchObject({
      status: 'finished',
      seed: 7,
      error: null,
      resumed: [],
      configuration: { data: [data], packing: 'stream', settings: { steps: updates, learningRate: 1e-2, batch: 4 } },
    });
    expect(record.command.slice(0, 3)).toEqual(['linnet', 'finetune', model]);
    expect(record.software.linnet).toMatch(/^\d+\.\d+\.\d+/);
    expect(metrics.map(({ update }) => update)).toEqual(Array.from({ length: updates }, (_, i) => i + 1));
    for (const { loss, gradientNorm, learningRate, tokens, update } of metrics) {
      expect(loss).toBeGreaterThan(0);
      expect(gradientNorm).toBeGreaterThan(0);
      expect(learningRate).toBeGreaterThanOrEqual(0);
      expect(tokens).toBe(Number(update) * 96);
    }
    // The loss that is told is the mean of the last tenth.
    const last = metrics.slice(-updates / 10).map(({ loss }) => Number(loss));
    expect(reported.loss).toBeCloseTo(last.reduce((a, b) => a + b, 0) / last.length, 10);
  });

  it('killed at random moments and resumed ends with the same bytes', async () => {
    const out = join(folder, 'killed');
    const random = new Random(11);
    let kills = 0;
    for (let attempt = 0; !existsSync(out); attempt++) {
      expect(attempt, 'attempts').toBeLessThan(12);
      const before = attempt === 0 ? 0 : loggedUpdates(out);
      const started = startCli(tuning(out, ...(attempt === 0 ? [] : ['--resume'])));
      if (attempt < 4) {
        // The first kill comes while the model is compiled, before anything is recorded.
        if (attempt > 0) await untilLogged(started, out, Math.max(2, before - 4) + random.integer(14));
        else await sleep(random.integer(900));
        await sleep(random.integer(12));
        started.child.kill('SIGKILL');
      }
      const { signal, run } = await started.ended;
      if (signal === 'SIGKILL') kills++;
      else expect(run.exitCode, run.stderr).toBe(0);
    }
    expect(kills).toBeGreaterThanOrEqual(2);
    expect(await weightsFile(out)).toEqual(await weightsFile(unbroken));
    const { record, metrics } = await readRun(`${out}.run`);
    expect(record.status).toBe('finished');
    expect(record.resumed.length).toBeGreaterThanOrEqual(1);
    expect(metrics.map(({ update }) => update)).toEqual(Array.from({ length: updates }, (_, i) => i + 1));
    const { metrics: expected } = await readRun(`${unbroken}.run`);
    expect(metrics.map(({ loss }) => loss)).toEqual(expected.map(({ loss }) => loss));
  });

  it('stopped by Ctrl-C says how to continue, and then ends with the same bytes', async () => {
    const out = join(folder, 'stopped');
    const started = startCli(tuning(out, '--json'));
    await untilLogged(started, out, 10);
    started.child.kill('SIGINT');
    const { run } = await started.ended;
    expect(run.exitCode, run.stderr).toBe(130);
    expect(run.stderr).toMatch(/optimizer step \d+ is saved in .*stopped\.run.*--resume/);
    expect(lastJson(run)).toMatchObject({ error: { code: 'ABORTED' } });
    expect(existsSync(out)).toBe(false);
    expect((await readRun(`${out}.run`)).record.status).toBe('interrupted');

    await expectRefusal(tuning(out), '--resume');
    await expectRefusal([...tuning(out, '--resume'), '--clip', '0.5'], 'another model, data or settings');
    const otherModel = join(folder, 'other');
    await saveTinyModel(otherModel, 2);
    const fromOther = tuning(out, '--resume').map((word) => (word === model ? otherModel : word));
    await expectRefusal(fromOther, 'another model');

    await json(...tuning(out, '--resume'));
    expect(await weightsFile(out)).toEqual(await weightsFile(unbroken));
  });

  it('refuses an existing --out before it trains', async () => {
    const words = tuning(unbroken, '--run', join(folder, 'second.run'), '--steps', '1');
    const before = statSync(join(unbroken, 'model.safetensors')).mtimeMs;
    const refused = await runCaptured([...words, '--json']);
    expect(refused.exitCode).toBe(3);
    expect(lastJson(refused)).toMatchObject({ error: { code: 'PATH' } });
    expect(existsSync(join(folder, 'second.run'))).toBe(false);
    expect(statSync(join(unbroken, 'model.safetensors')).mtimeMs).toBe(before);
  });

  it.each([
    [['--steps', '2', '--epochs', '1'], 2, '--steps and --epochs exclude each other'],
    [['--batch', '4', '--micro-batch', '3'], 2, 'a divisor of --batch'],
    [['--data', 'nowhere.txt'], 3, 'nowhere.txt'],
    [['--held-out', '20'], 3, '--held-out leaves none'],
    [['--lr', '-1'], 2, '--lr'],
  ])('refuses %j', async (more, code, message) => {
    const out = join(folder, 'refused');
    await expectRefusal(['finetune', model, '--data', data, ...more, '--out', out], message, code);
    expect(existsSync(join(folder, 'refused'))).toBe(false);
  });
});

describe('pretrain', () => {
  const config = tinyConfig('llama');
  const linear = { kind: 'linear', group: 8, local: {}, global: {}, convolution: { kernel: 9 } };

  async function writeConfig(name: string, content: unknown): Promise<string> {
    const file = join(folder, name);
    await writeFile(file, JSON.stringify(content));
    return file;
  }

  const words = (file: string, out: string): string[] => {
    const settings = ['--steps', '8', '--lr', '1e-2', '--batch', '2', '--length', '24', '--schedule', 'cosine'];
    return ['pretrain', file, '--data', data, ...settings, '--seed', '5', '--out', join(folder, out)];
  };

  it('makes a model of the configuration, mixers included, and repeats with the seed', async () => {
    const file = await writeConfig('hybrid.json', {
      ...config,
      linnet: { version: 1, mixers: [linear, { kind: 'softmax' }] },
    });
    const reported = await json(...words(file, 'first'));
    expect(reported).toMatchObject({
      steps: 8,
      tokens: 8 * 48,
      out: join(folder, 'first'),
      run: join(folder, 'first.run'),
    });
    expect(reported.loss).toBeGreaterThan(0);
    expect(reported.tokensPerSecond).toBeGreaterThan(0);
    const { model: saved, parameters } = await loadCausalModel(join(folder, 'first'));
    expect(saved.mixers.map(({ kind }) => kind)).toEqual(['linear', 'softmax']);
    const taps = parameters.get('model.layers.0.self_attn.dwconv.weight');
    expect(taps?.data.some((value) => value !== 0)).toBe(true);
    const generated = await json('generate', join(folder, 'first'), '--prompt', 'the', '--max-tokens', '3');
    expect(generated).toMatchObject({ promptTokens: 4 });
    await json(...words(file, 'again'));
    expect(await weightsFile(join(folder, 'again'))).toEqual(await weightsFile(join(folder, 'first')));
  });

  it.each([
    ['a field that cannot be', { ...config, hidden_size: 'wide' }, 'hidden_size'],
    ['too small a vocabulary', { ...config, vocab_size: 100 }, 'vocab_size'],
    ['an unknown family', { ...config, model_type: 'gpt5' }, 'model_type'],
  ])('refuses %s', async (_, content, message) => {
    const file = await writeConfig('bad.json', content);
    await expectRefusal(words(file, 'refused'), message);
  });
});
