/** `linnet convert` end to end: stages, report, what is refused, and going on after a stop. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { describeMixer, parseMixer } from '../../src/attention/mixers.ts';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { errorOf, jsonOf, runCaptured, runJson } from './captured-cli.ts';
import { song, writeJsonlTexts } from './text-data.ts';
import { expectSameWeights } from './trained-runs.ts';

const folder = suiteFolder();
const at = (name: string): string => join(folder, name);
const command = (...more: string[]): string[] => [
  ...['convert', at('base'), '--data', at('text.jsonl'), '--held-out', '2', '--batch', '2'],
  ...['--contexts', '64,128', '--threads', '1', ...more],
];

beforeAll(async () => {
  await saveTinyModel(at('base'), 1, 'llama');
  await writeJsonlTexts(
    at('text.jsonl'),
    Array.from({ length: 24 }, (_, i) => `${song} ${i} ${song}`.repeat(1 + (i % 3))),
  );
});

describe('a conversion', () => {
  it('trains in stages, keeps the best, and reports', async () => {
    const json = await runJson(...command('--budget', '4s', '--keep', 'auto:1', '--out', at('out')));
    expect(json.keptLayers).toHaveLength(1);
    expect(json).toHaveProperty('original.perplexity');
    const stages = json.stages as { name: string; perplexity: number; kept: boolean }[];
    expect(stages.map(({ name }) => name).slice(0, 2)).toEqual(['linearize', 'calibrate']);
    const best = Math.min(...stages.map(({ perplexity }) => perplexity));
    expect(stages.filter(({ kept }) => kept).at(-1)?.perplexity).toBe(best);
    // The mixer that came out, without the branches that are off.
    const { results } = JSON.parse(await readFile(join(at('out.run'), 'run.json'), 'utf8')) as { results: unknown };
    expect(results).toMatchObject({ mixer: describeMixer(parseMixer(json.mixer)) });
    const ablation = json.ablation as { without: string; perplexity: number }[];
    expect(ablation.map(({ without }) => without)).toEqual(['memory', 'window', 'sinks']);
    const report = await readFile(String(json.report), 'utf8');
    expect(report).toMatch(/<h2>(As good as|Nearly as good as|Worse than|Much worse than) before/);
    expect(existsSync(join(at('out.run'), 'figures', 'convert-stages.svg'))).toBe(true);
    const { model } = await loadCausalModel(at('out'));
    expect(model.mixers.map(({ kind }) => kind).sort()).toEqual(['softmax', 'window']);
    const again = await runCaptured(['convert', at('out'), '--data', at('text.jsonl'), '--out', at('twice'), '--json']);
    expect(errorOf(again).message).toMatch(/is linearized already.*convert the softmax model/);
    expect(existsSync(at('twice.run'))).toBe(false);
  });

  it('takes a Qwen3 into the container of Qwen3.5, layers exactly or as Gated DeltaNet that learns', async () => {
    await saveTinyModel(at('qwen3'), 1, 'qwen3');
    const [, , ...given] = command('--target', 'qwen3_5', '--length', '16');
    const into = (out: string, ...more: string[]) =>
      runJson('convert', at('qwen3'), ...given, ...more, '--out', at(out));
    const whole = await into('exact', '--keep', '0,1');
    expect(whole).toMatchObject({ family: 'qwen3_5_text', keptLayers: [0, 1], layers: [] });
    expect(Number(whole.converted)).toBeCloseTo((whole.original as { perplexity: number }).perplexity, 3);
    const fresh = await into('fresh', '--keep', 'every:2', '--steps', '0,0,0');
    const learned = await into('learned', '--keep', 'every:2', '--steps', '0,20,0');
    expect(learned).toMatchObject({ keptLayers: [1], layers: [0] });
    expect(Number(learned.converted)).toBeLessThan(Number(fresh.converted));
    const { model } = await loadCausalModel(at('learned'));
    expect(model.mixers.map(({ kind }) => kind)).toEqual(['delta-net', 'softmax']);
    for (const [more, message] of [
      [['--keep', '0,9', '--steps', '0,4,0'], /layer 9 has no attention to keep/],
      [['--steps', '0,4,0', '--memory', '1MiB'], /in stage logits .* the limit is 1 MiB/],
      [['--budget', '0.001s'], /fewer than 4 optimizer steps/],
      [['--group', '2'], /--target.*does not take --group/],
    ] as const) {
      const refused = await runCaptured(['convert', at('qwen3'), ...given, ...more, '--json', '--out', at('refused')]);
      expect(errorOf(refused).message).toMatch(message);
      expect(['refused', 'refused.run'].filter((name) => existsSync(at(name)))).toEqual([]);
    }
    const { plan } = await into('planned', '--keep', 'every:2', '--steps', '0,20,0', '--plan');
    expect(plan).toMatchObject({ stages: [{ name: 'logits', length: 16, batch: 2, tokens: 20 * 2 * 16 }] });
    expect(existsSync(at('learned.run'))).toBe(false);
  });

  it('plans memory, disk and time, and does nothing else', async () => {
    const { plan } = await runJson(
      ...command(
        '--steps',
        '4,4,4',
        '--length',
        '16',
        '--window-memory',
        'learned',
        '--memory',
        '2GiB',
        '--plan',
        '--out',
        at('planned'),
      ),
    );
    const { stages, memoryLimitBytes } = plan as {
      stages: Record<'length' | 'batch' | 'tokens' | 'memoryBytes' | 'diskBytes' | 'seconds', number>[];
      memoryLimitBytes: number;
    };
    expect(memoryLimitBytes).toBe(2 ** 31);
    expect(stages.map(({ name, length }: { name?: unknown; length: number }) => [name, length])).toEqual([
      ['linearize', expect.any(Number)],
      ['calibrate', 256],
      ['transfer', 16],
      ['logits', 16],
      ['long', 32],
      ['branches', expect.any(Number)],
      ['report', expect.any(Number)],
    ]);
    for (const stage of stages) {
      expect(stage.memoryBytes).toBeGreaterThan(2 ** 26);
      expect(stage.memoryBytes).toBeLessThan(2 ** 31);
      for (const name of ['batch', 'tokens', 'diskBytes', 'seconds'] as const) expect(stage[name]).toBeGreaterThan(0);
    }
    expect(stages.map(({ tokens }) => tokens).slice(2, 5)).toEqual([4 * 2 * 16, 4 * 2 * 16, 4 * 2 * 32]);
    for (const made of ['planned', 'planned.run']) expect(existsSync(at(made))).toBe(false);
  });

  it('makes the optimizer steps that it is told, the same every time, and leaves the memory out', async () => {
    const options = ['--steps', '0,4,0', '--group', '4', '--window-memory', 'none', '--sinks', '0'];
    const json = await runJson(...command(...options, '--out', at('steps')));
    const stages = json.stages as { name: string; steps: number }[];
    expect(stages.map(({ name, steps }) => [name, steps])).toEqual([
      ['linearize', 0],
      ['calibrate', 0],
      ['logits', 4],
    ]);
    expect(json.mixer).toMatchObject({ kind: 'window', group: 4, memory: null, sinks: 0 });
    // The same once more, in place of the first.
    const anew = await runCaptured([...command(...options, '--out', at('steps')), '--replace']);
    expect(anew.stderr).toMatch(
      /^about .* \(linearize .*, calibrate .*, logits .*, report .*\); \d.* of memory, .* of disk$/m,
    );
    expect(anew.exitCode).toBe(0);
    await runJson(...command(...options, '--out', at('same-steps')));
    await expectSameWeights(at('steps'), at('same-steps'));
  });

  it('takes the state it is given', async () => {
    const json = await runJson(...command('--budget', '0s', '--state', '8KiB', '--out', at('small')));
    expect(Number(json.stateBytes)).toBeLessThanOrEqual(8192);
    expect((json.stages as unknown[]).length).toBe(2);
    const tooSmall = await runCaptured(command('--state', '10B', '--out', at('none'), '--json'));
    expect(errorOf(tooSmall).message).toMatch(/too small for 2 layers; give at least/);
  });

  it('stopped in a stage goes on to the same weights', async () => {
    const options = ['--budget', '3s', '--seed', '4'];
    const stop = new AbortController();
    let stages = 0;
    const stopped = await runCaptured(command(...options, '--out', at('resumed')), {
      signal: stop.signal,
      onOutput: () => {
        if (++stages === 2) stop.abort();
      },
    });
    expect(stopped.exitCode).toBe(130);
    expect(stopped.stderr).toMatch(/linnet: .*To continue, run the same again with --resume$/m);
    expect(existsSync(at('resumed'))).toBe(false);
    const again = await runCaptured([...command(...options, '--out', at('resumed')), '--json']);
    expect(errorOf(again).message).toMatch(/holds a conversion; continue it with --resume, start over with --replace/);
    await runJson(...command(...options, '--out', at('resumed'), '--resume'));
    // What was done is not done again: resumed once more, the same weights come out at once.
    await runJson(...command(...options, '--out', at('once-more'), '--run', at('resumed.run'), '--resume'));
    await expectSameWeights(at('resumed'), at('once-more'));
    const other = await runCaptured([
      ...command('--budget', '2s', '--out', at('other'), '--run', at('resumed.run'), '--resume', '--json'),
    ]);
    expect(errorOf(other).code).toBe('MISMATCH');
  });
});

it('says of a conversion that lost much that it did, in the terminal and in the report', async () => {
  const tiny = ['convert', 'assets/tiny-llama', '--data', at('text.jsonl'), '--held-out', '2', '--steps', '0,0,0'];
  const state = ['--group', '2', '--window-memory', 'none', '--sinks', '0', '--contexts', '64', '--threads', '1'];
  const { stdout, exitCode } = await runCaptured([...tiny, ...state, '--out', at('bad')]);
  expect(exitCode).toBe(0);
  const [, change] = /\((\+[\d.]+) %\) on test text/.exec(stdout) ?? [];
  expect(Number(change)).toBeGreaterThan(20);
  const page = await readFile(join(at('bad.run'), 'report.html'), 'utf8');
  for (const text of [stdout, page]) {
    expect(text).toMatch(/Much worse than before: perplexity \+[\d,.]+ %, at constant memory/);
    expect(text).toContain('To lose less: train for longer (--budget)');
    expect(text).not.toMatch(/[Aa]s good as before/);
  }
  const written = Number(/Much worse than before: perplexity \+([\d.]+) %/.exec(page)?.[1]);
  expect(written).toBeCloseTo(Number(change), 0);
  // The stages against the original, in the chart and in the table.
  expect(page.match(/\+\d[\d,]*\.\d\d %/g)?.length).toBeGreaterThanOrEqual(4);
});

describe('is refused', () => {
  it.each([
    [['--budget', 'soon'], /expected a time such as/],
    [['--steps', '4'], /expected optimizer steps of transfer, logits, long/],
    [['--steps', '4,4,4', '--budget', '4s'], /--steps and --budget set the same thing/],
    [['--group', '4', '--state', '8KiB'], /--group and --state set the same thing/],
    [['--memory', 'none'], /--memory is "none"; expected an amount .*window's memory, give --window-memory/],
    [['--window-memory', 'some'], /expected one of learned, none/],
    [['--memory', '100MiB'], /a step of .* tokens takes about .*the limit is 100 MiB/],
    [['--state', 'little'], /expected an amount such as/],
    [['--keep', 'auto:2'], /keeping 2 of 2 layers leaves none/],
    [['--held-out', '12'], /leave none to train on/],
  ])('%s', async (options, message) => {
    const run = await runCaptured([...command(...options, '--out', at('refused')), '--json']);
    expect(run.exitCode).not.toBe(0);
    expect(run.stdout + run.stderr).toMatch(message);
    expect(existsSync(at('refused'))).toBe(false);
  });
});

it('eval perplexity --without says what a branch is worth', async () => {
  await runJson('linearize', at('base'), '--mixer', 'window', '--group', '4', '--out', at('window'));
  const data = ['--data', at('text.jsonl'), '--limit-documents', '4'];
  const whole = jsonOf(await runCaptured(['eval', 'perplexity', at('window'), ...data, '--json']));
  const without = jsonOf(
    await runCaptured(['eval', 'perplexity', at('window'), ...data, '--without', 'memory', '--json']),
  );
  expect(without).toMatchObject({ without: 'memory', tokens: whole.tokens });
  expect(without.perplexity).not.toBe(whole.perplexity);
  const absent = await runCaptured(['eval', 'perplexity', at('base'), ...data, '--without', 'memory', '--json']);
  expect(errorOf(absent).message).toMatch(/no mixer of the model has a memory/);
});
