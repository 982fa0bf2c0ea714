import { execFileSync, spawnSync } from 'node:child_process';
import { appendFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { scratchFolder } from '../scratch-folder.ts';
import { describeCommit, describeHardware, describeSoftware } from '../../src/report/provenance.ts';
import { openRun, readRun, type Metric, type RunDescription } from '../../src/report/record.ts';

const description: RunDescription = {
  command: ['linnet', 'finetune', 'model', '--steps', '2'],
  configuration: { steps: 2, schedule: { kind: 'cosine', warmup: 0.1 }, data: ['a.txt'] },
  seed: 7,
};

/** A clock that moves on by a minute with every look. */
function minutes(): () => Date {
  let time = Date.UTC(2026, 0, 1);
  return () => new Date((time += 60_000));
}

describe('a run', () => {
  it('is read back as it was written', async () => {
    const folder = join(await scratchFolder(), 'runs/first');
    const run = await openRun(folder, description, { now: minutes() });
    run.log({ step: 1, loss: 2.5 });
    run.log({ step: 2, loss: 2.25, note: 'a "quoted"\nline', last: true, nothing: null });
    await run.finish('finished');

    const { record, metrics } = await readRun(folder);
    expect(record).toEqual({
      format: 'linnet-run',
      version: 1,
      command: description.command,
      configuration: description.configuration,
      seed: 7,
      software: describeSoftware(),
      hardware: describeHardware(),
      commit: await describeCommit(),
      started: '2026-01-01T00:01:00.000Z',
      resumed: [],
      finished: '2026-01-01T00:02:00.000Z',
      status: 'finished',
      error: null,
    });
    expect(record).toEqual(run.record);
    expect(metrics).toEqual([
      { step: 1, loss: 2.5 },
      { step: 2, loss: 2.25, note: 'a "quoted"\nline', last: true, nothing: null },
    ]);
    expect((await readdir(folder)).sort()).toEqual(['metrics.jsonl', 'run.json']);
  });

  it('can be read while it runs: lines are there as soon as logged', async () => {
    const folder = await scratchFolder();
    const run = await openRun(folder, description);
    onTestFinished(() => run.finish('finished'));
    run.log({ step: 1 });
    const { record, metrics } = await readRun(folder);
    expect([record.status, record.finished, metrics]).toEqual(['running', null, [{ step: 1 }]]);
  });

  it('keeps any metric, numbers outside JSON included', async () => {
    const folder = await scratchFolder();
    const run = await openRun(folder, description);
    const value = fc.oneof(fc.double(), fc.string({ unit: 'grapheme' }), fc.boolean(), fc.constant(null));
    const logged: Metric[] = [{ a: NaN, b: Infinity, c: -Infinity }];
    // -0 has no spelling in JSON and is no different loss.
    fc.assert(
      fc.property(
        fc.dictionary(
          fc.string({ minLength: 1 }).filter((name) => name !== '__proto__'),
          value,
        ),
        (metric) => {
          logged.push({ ...metric });
        },
      ),
      { seed: 4, numRuns: 50 },
    );
    for (const metric of logged) run.log(metric);
    await run.finish('finished');
    const { metrics } = await readRun(folder);
    const withoutNegativeZero = logged.map((metric) =>
      Object.fromEntries(Object.entries(metric).map(([name, x]) => [name, Object.is(x, -0) ? 0 : x])),
    );
    expect(metrics).toEqual(withoutNegativeZero);
  });

  it('says how it ended', async () => {
    const folder = await scratchFolder();
    const run = await openRun(folder, description);
    await run.finish('failed', new Error('out of memory'));
    await run.finish('finished');
    expect((await readRun(folder)).record).toMatchObject({ status: 'failed', error: 'out of memory' });
    expect(() => run.log({ step: 1 })).toThrow(/is closed/);
  });

  it('does not overwrite another', async () => {
    const folder = await scratchFolder();
    await (await openRun(folder, description)).finish('finished');
    await expect(openRun(folder, description)).rejects.toThrow(expect.objectContaining({ code: 'PATH' }));
  });

  it('cannot be written where a file stands', async () => {
    const folder = await scratchFolder();
    await writeFile(join(folder, 'taken'), '');
    await expect(openRun(join(folder, 'taken'), description)).rejects.toThrow(
      expect.objectContaining({ code: 'PATH' }),
    );
  });
});

describe('a resumed run', () => {
  it('keeps its start and the metrics up to the snapshot', async () => {
    const folder = await scratchFolder();
    const now = minutes();
    const first = await openRun(folder, description, { now });
    for (const step of [1, 2, 3]) first.log({ step, loss: NaN });
    await first.finish('interrupted');

    const second = await openRun(
      folder,
      { ...description, seed: 8 },
      { now, resume: true, keep: ({ step }) => typeof step === 'number' && step <= 2 },
    );
    second.log({ step: 3, loss: 1 });
    await second.finish('finished');

    const { record, metrics } = await readRun(folder);
    expect(record).toMatchObject({ started: first.record.started, resumed: ['2026-01-01T00:03:00.000Z'], seed: 8 });
    expect(metrics).toEqual([
      { step: 1, loss: NaN },
      { step: 2, loss: NaN },
      { step: 3, loss: 1 },
    ]);
  });

  it('drops a line that a power cut has torn', async () => {
    const folder = await scratchFolder();
    const run = await openRun(folder, description);
    run.log({ step: 1 });
    await run.finish('interrupted');
    await appendFile(join(folder, 'metrics.jsonl'), '{"step": 2, "lo');
    const again = await openRun(folder, description, { resume: true });
    again.log({ step: 2 });
    await again.finish('finished');
    expect(await readFile(join(folder, 'metrics.jsonl'), 'utf8')).toBe('{"step":1}\n{"step":2}\n');
  });

  it('needs a run', async () => {
    const missing = openRun(await scratchFolder(), description, { resume: true });
    await expect(missing).rejects.toThrow(expect.objectContaining({ code: 'NOT_FOUND' }));
  });
});

describe('readRun', () => {
  async function damaged(file: string, content: string): Promise<string> {
    const folder = await scratchFolder();
    const run = await openRun(folder, description);
    run.log({ step: 1 });
    await run.finish('finished');
    await writeFile(join(folder, file), content);
    return folder;
  }

  it.each([
    ['a record that is not a JSON', 'run.json', '{', /run\.json is not JSON/],
    [
      'a record of something else',
      'run.json',
      '{"format":"other"}',
      /run\.json is not a valid record of a run.*linnet-run/s,
    ],
    ['a metric that is not a JSON', 'metrics.jsonl', '{"step":1}\nhello\n', /metrics\.jsonl, line 2 is not JSON/],
    ['a metric that is not an object', 'metrics.jsonl', '[1]\n', /metrics\.jsonl, line 1 is not a valid record/],
    ['a nested metric', 'metrics.jsonl', '{"a":{"b":1}}\n', /metrics\.jsonl, line 1 is not a valid record/],
  ])('refuses %s', async (_, file, content, message) => {
    const failure = readRun(await damaged(file, content));
    await expect(failure).rejects.toThrow(message);
    await expect(failure).rejects.toThrow(expect.objectContaining({ code: 'FORMAT' }));
  });

  it('says where there is no run', async () => {
    await expect(readRun(await scratchFolder())).rejects.toThrow(expect.objectContaining({ code: 'NOT_FOUND' }));
  });
});

describe('provenance', () => {
  it('names versions and machine', async () => {
    const manifest: unknown = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'));
    const software = describeSoftware();
    expect(manifest).toMatchObject({
      version: software.linnet,
      dependencies: { 'onnxruntime-node': software.onnxruntime },
    });
    expect(software.node).toMatch(/^\d+\.\d+\.\d+$/);
    const hardware = describeHardware();
    expect(hardware.cores).toBeGreaterThan(0);
    expect(hardware.memoryBytes).toBeGreaterThan(1e8);
  });

  it.skipIf(spawnSync('git', ['--version']).error !== undefined)(
    'names the commit of a checkout alone (needs git)',
    async () => {
      const folder = await scratchFolder();
      const git = (...parameters: string[]): string =>
        execFileSync('git', ['-C', folder, '-c', 'user.name=a', '-c', 'user.email=a@b', ...parameters], {
          encoding: 'utf8',
        }).trim();
      git('init', '--quiet');
      expect(await describeCommit(folder)).toBeNull();
      await writeFile(join(folder, 'file'), 'one');
      git('add', 'file');
      git('commit', '--quiet', '-m', 'first');
      const commit = git('rev-parse', 'HEAD');
      expect(await describeCommit(folder)).toBe(commit);
      await writeFile(join(folder, 'file'), 'two');
      expect(await describeCommit(folder)).toBe(`${commit}-dirty`);
      await mkdir(join(folder, 'node_modules/linnet'), { recursive: true });
      expect(await describeCommit(join(folder, 'node_modules/linnet'))).toBeNull();
    },
  );
});
