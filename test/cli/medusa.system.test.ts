/**
 * Medusa from the command line, on a tiny model: heads are trained, resumed and saved next to the model, and speculative
 * decoding with them writes the text of sequential decoding.
 */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { loadMedusaHeads } from '../../src/checkpoint/medusa-files.ts';
import { runCaptured, runJson } from './captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { song, writeJsonlTexts } from './text-data.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { storeMedusaTree } from '../models/medusa-tree.ts';

const folder = suiteFolder();
const softmax = join(folder, 'softmax');
const data = join(folder, 'songs.jsonl');

beforeAll(async () => {
  await saveTinyModel(softmax);
  await writeJsonlTexts(data, new Array<string>(12).fill(`${song}. `.repeat(6)));
});

function training(model: string, out: string, ...more: string[]): string[] {
  const settings = ['--steps', '60', '--lr', '2e-2', '--batch', '4', '--length', '48', '--snapshot-every', '10'];
  return ['medusa', 'train', model, '--data', data, '--heads', '3', ...settings, '--out', out, ...more];
}

const speedSchema = z.array(
  z.object({ context: z.int(), temperature: z.number(), tokensPerStep: z.number(), identical: z.boolean().optional() }),
);

function checkRows(given: unknown): void {
  const rows = speedSchema.parse(given);
  expect(rows.map(({ context, temperature }) => [context, temperature])).toEqual([
    [8, 0],
    [8, 0.7],
    [40, 0],
    [40, 0.7],
  ]);
  expect(rows.map(({ identical }) => identical)).toEqual([true, undefined, true, undefined]);
  for (const { tokensPerStep } of rows) expect(tokensPerStep).toBeGreaterThan(1.2);
}

const accuracySchema = z.array(z.array(z.number().min(0).max(1)));

describe.each(['softmax', 'augmented'])('Medusa heads of a %s model', (mixer) => {
  let base = '';
  let out = '';
  let reported: Record<string, unknown> = {};
  let speculating: string[] = [];
  beforeAll(async () => {
    base = join(folder, mixer);
    out = join(folder, `${mixer}-medusa`);
    const linear = join(folder, `${mixer}-linear`);
    if (mixer !== 'softmax') await runJson('linearize', softmax, '--mixer', mixer, '--group', '8', '--out', linear);
    // A model that knows the song: what it writes can then be guessed.
    const tuned = ['--steps', '150', '--lr', '2e-2', '--batch', '4', '--length', '48', '--out', `${base}-tuned`];
    await runJson('finetune', mixer === 'softmax' ? softmax : linear, '--data', data, ...tuned);
    base = `${base}-tuned`;
    reported = await runJson(...training(base, out));
    const small = ['--context', '8,40', '--prompts', '2', '--tokens', '32', '--rounds', '1'];
    speculating = ['bench', 'speculate', out, '--data', data, ...small];
  });

  it('guess held-out text', () => {
    expect(reported).toMatchObject({ out, heads: 3, headLayers: 1, steps: 60 });
    const accuracy = accuracySchema.parse(reported.topAccuracy);
    expect(accuracy.map((within) => within.length)).toEqual([10, 10, 10]);
    for (const within of accuracy) {
      expect(within[0]).toBeGreaterThan(0.3); // untrained heads: about one in the 20 letters of the song
      for (let k = 1; k < within.length; k++) expect(within[k]).toBeGreaterThanOrEqual(within[k - 1]);
    }
  });

  it('lie next to the model, which is unchanged', async () => {
    expect(await readdir(out)).toEqual(
      expect.arrayContaining([
        'config.json',
        'medusa.json',
        'medusa.safetensors',
        'model.safetensors',
        'tokenizer.json',
      ]),
    );
    const before = await loadCausalModel(base);
    const after = await loadCausalModel(out);
    for (const [name, { data: numbers }] of before.parameters) {
      expect(after.parameters.get(name)?.data).toEqual(numbers);
    }
    const stored = await loadMedusaHeads(out, after);
    expect(stored.accuracy).toEqual(reported.topAccuracy);
    expect(stored.tree).toBeUndefined();
  });

  it('write the text of sequential decoding, in a growing tree and in a stored one', async () => {
    const words = ['generate', out, '--prompt', song.slice(0, 20), '--max-tokens', '40', '--ignore-eos'];
    const plain = await runJson(...words);
    expect(await runJson(...words, '--speculate', 'medusa')).toMatchObject({ tokens: plain.tokens });
    const tree = { method: 'given', paths: [[0], [1], [0, 0], [0, 0, 0]] } as const;
    const grown = await runJson(...speculating);
    expect(grown).toMatchObject({ tree: null, heads: 3 });
    await storeMedusaTree(out, { ...tree, paths: tree.paths.map((path) => [...path]) });
    expect((await loadMedusaHeads(out, await loadCausalModel(out))).tree).toMatchObject(tree);
    const speed = await runJson(...speculating);
    expect(speed).toMatchObject({ tree: { method: 'given', nodes: 5 }, heads: 3 });
    for (const { rows } of [grown, speed]) checkRows(rows);
  });
  it('are measured on text of the model itself where none is given', async () => {
    const small = ['--context', '600', '--prompts', '1', '--tokens', '16', '--rounds', '1', '--temperature', '0'];
    const { rows } = await runJson('bench', 'speculate', out, ...small);
    expect(rows).toEqual([expect.objectContaining({ context: 600, identical: true })]);
  });

  it('do not follow the model into a linearized folder', async () => {
    const changed = join(folder, `${mixer}-changed`);
    await runJson('linearize', out, '--mixer', 'local', '--group', '8', '--out', changed);
    expect((await readdir(changed)).filter((name) => name.startsWith('medusa'))).toEqual([]);
    const run = await runCaptured(['bench', 'speculate', changed, '--data', data]);
    expect(run.exitCode).not.toBe(0);
    expect(run.stderr).toContain('linnet medusa train');
  });
});

describe('medusa train', () => {
  it('stopped and resumed saves the same bytes', async () => {
    const unbroken = join(folder, 'unbroken');
    await runJson(...training(softmax, unbroken, '--hidden-states', 'disk'));
    const resumed = join(folder, 'resumed');
    const abort = new AbortController();
    const timer = setInterval(() => {
      void readFile(join(`${resumed}.run`, 'metrics.jsonl'), 'utf8').then(
        (lines) => {
          if (lines.split('\n').length > 14) abort.abort();
        },
        () => undefined,
      );
    }, 2);
    const hidden = join(`${resumed}.run`, 'hidden-states.safetensors');
    const words = training(softmax, resumed, '--hidden-states', 'disk');
    const stopped = await runCaptured(words, { signal: abort.signal });
    clearInterval(timer);
    expect(stopped.stderr).toContain('--resume');
    expect(existsSync(hidden)).toBe(true); // for the resumed run
    await runJson(...words, '--resume');
    expect(existsSync(hidden)).toBe(false);
    for (const file of ['medusa.safetensors', 'medusa.json', 'model.safetensors']) {
      expect(await readFile(join(resumed, file))).toEqual(await readFile(join(unbroken, file)));
    }
  });

  it('changes the model when joint', async () => {
    const out = join(folder, 'joint');
    await runJson(
      ...training(softmax, out, '--joint', '--head-weight', '0.3', '--base-rate', '0.5', '--held-out', '2'),
    );
    const before = await loadCausalModel(softmax);
    const after = await loadCausalModel(out);
    for (const [name, { data: numbers }] of before.parameters) {
      expect(after.parameters.get(name)?.data).not.toEqual(numbers);
    }
    await loadMedusaHeads(out, after); // tied to the model as it is now
  });

  it.each([
    [['--head-weight', '0.5'], '--joint'],
    [['--heads', '17'], '--heads'],
    [['--head-decay', '0'], '--head-decay'],
  ])('refuses %j', async (more, named) => {
    const run = await runCaptured(training(softmax, join(folder, 'refused'), ...more));
    expect(run.exitCode).toBe(2);
    expect(run.stderr).toContain(named);
  });
});
