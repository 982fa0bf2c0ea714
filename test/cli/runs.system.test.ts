/** `linnet runs`: what it lists, hostile folders, its table of commas, its server by the command line. */
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lockFolder } from '../../src/files/folder-lock.ts';
import { openRun, type RunDescription } from '../../src/report/record.ts';
import { runSeries } from '../../src/runs/series.ts';
import { scratchFolder } from '../scratch-folder.ts';
import { linnet, runCaptured, runJson } from './captured-cli.ts';

const mixer = { kind: 'linear', group: 64, local: { kernel: 'softmax', scale: 'none' } };
const description: RunDescription = {
  command: ['linnet', 'finetune', 'runs/augmented', '--out', 'runs/tuned'],
  configuration: {
    model: {
      model_type: 'llama',
      num_hidden_layers: 2,
      hidden_size: 64,
      linnet: { version: 1, mixers: [mixer, mixer] },
    },
    settings: { epochs: 2, batch: 8 },
    read: { rows: 44, summary: '=cmd, "12" documents' },
  },
  seed: 3,
};

/** A folder with a finished run, one that was killed, a study under way, and what is no run. */
async function someRuns(): Promise<string> {
  const folder = await scratchFolder();
  const done = await openRun(join(folder, 'done.run'), description);
  done.log({ update: 1, loss: 3, tokens: 100, seconds: 0.5 });
  done.log({ update: 2, loss: 2, tokens: 200, seconds: 0.25 });
  done.log({ update: 2, heldOutLoss: 1.5 });
  done.report({ loss: 2.5, heldOutLoss: 1.5, steps: 2, tokens: 200, tokensPerSecond: 300 });
  await done.finish('finished');
  const killed = await openRun(join(folder, 'a/b/killed.run'), description);
  killed.log({ update: 5, loss: 4, tokens: 500, seconds: 1 });
  await mkdir(join(folder, 'a/node_modules/x.run'), { recursive: true });
  await writeFile(join(folder, 'a/node_modules/x.run/run.json'), '{}');
  await mkdir(join(folder, 'hostile'));
  await writeFile(join(folder, 'hostile/run.json'), '[1, 2');
  await symlink(join(folder, 'done.run'), join(folder, 'link.run'));
  return folder;
}

describe('linnet runs', () => {
  it('lists what records say: state, model, mixer, steps, losses, perplexity', async () => {
    const folder = await someRuns();
    const { runs, unreadable } = await runJson('runs', folder);
    expect(runs).toEqual(
      expect.arrayContaining([
        expect.objectContaining({
          ...{ name: 'done.run', kind: 'finetune', state: 'finished', model: 'llama, 2 × 64', seed: 3 },
          ...{ steps: 2, totalSteps: 11, loss: 2.5, heldOutLoss: 1.5, perplexity: Math.exp(1.5) },
          mixer: expect.stringContaining('local softmax') as string,
        }),
        // It says that it runs, but no process has it.
        expect.objectContaining({ name: 'a/b/killed.run', state: 'lost', steps: 5, loss: 4, perplexity: null }),
      ]),
    );
    expect(runs).toHaveLength(2);
    expect(unreadable).toEqual([{ name: 'hostile', reason: expect.stringContaining('is not JSON') as string }]);
    const { stdout, stderr } = await linnet('runs', folder);
    expect(stdout).toMatch(/^run +state +perplexity +loss +steps +time/);
    expect(stdout).toMatch(/done\.run +finished +4\.48 +2\.5000 +2\/11 /);
    expect(stderr).toContain('warning: hostile cannot be read');
  });

  it('knows a run that a process has, and counts the trials of a study', async () => {
    const folder = await scratchFolder();
    const study = await openRun(folder, { command: ['linnet', 'sweep', 'plan.json'], configuration: { trials: 4 } });
    study.log({ trial: 'a', update: 10, loss: 2 });
    study.log({ trial: 'a', perplexity: 7.5, trialSeconds: 3 });
    study.log({ trial: 'b', update: 5, loss: 2.5 });
    await using _lock = await lockFolder(folder);
    const { runs } = await runJson('runs', folder);
    expect(runs).toMatchObject([
      { kind: 'sweep', state: 'running', unit: 'trials', steps: 1, totalSteps: 4, perplexity: 7.5, loss: 2.5 },
    ]);
  });

  it('writes commas, with quotes where they are needed and no formula', async () => {
    const folder = await someRuns();
    const file = join(folder, 'runs.csv');
    await runJson('runs', folder, '--csv', file);
    const text = await readFile(file, 'utf8');
    expect(text).toMatch(/^name,command,state,model,/);
    expect(text.split('\n')).toHaveLength(4);
    expect(text).toContain(`,"'=cmd, ""12"" documents",`);
    expect(text).toContain('"llama, 2 × 64"');
  });

  it('says what it cannot do', async () => {
    const folder = await scratchFolder();
    expect((await linnet('runs', folder)).stdout).toContain('There are no runs');
    expect((await linnet('runs', join(folder, 'none'))).exitCode).toBe(3);
    const port = await linnet('runs', folder, '--port', '1');
    expect([port.exitCode, port.stderr]).toEqual([2, expect.stringContaining('needs --serve')]);
    expect((await linnet('runs', '--help')).stdout).toMatch(/\[folder\][^]*linnet runs --serve/);
  });

  it('serves until it is stopped', async () => {
    const folder = await someRuns();
    const stop = new AbortController();
    let asked: Promise<[number, unknown]> | undefined;
    const run = await runCaptured(['runs', folder, '--serve', '--port', '0'], {
      signal: stop.signal,
      onOutput(text) {
        const url = /http:\/\/127\.0\.0\.1:\d+/.exec(text)?.[0];
        if (url === undefined) return;
        asked = fetch(`${url}/api/runs`, { headers: { connection: 'close' } })
          .then(async (answer): Promise<[number, unknown]> => [answer.status, await answer.json()])
          .finally(() => stop.abort());
      },
    });
    expect(run.exitCode).toBe(0);
    expect(await asked).toMatchObject([200, { runs: [{}, {}], unreadable: [{ name: 'hostile' }] }]);
  });
});

describe('curves', () => {
  it('are read as they grow, and thinned to means', async () => {
    const run = await openRun(join(await scratchFolder(), 'long.run'), description);
    const series = runSeries(run.folder);
    for (let update = 1; update <= 3000; update++) {
      run.log({ update, loss: update });
      if (update === 500) await series.update();
    }
    await series.update();
    const [{ name, curves, last }] = series.groups();
    const { x, y } = curves.loss;
    expect([name, last.loss]).toEqual(['', 3000]);
    expect(x.length).toBeGreaterThan(500);
    expect(x.length).toBeLessThanOrEqual(1024);
    // The mean of the steps is that of their losses: nothing is left out, nothing counted twice.
    expect(y).toEqual(x);
    expect(x).toEqual(x.toSorted((a, b) => a - b));
    const version = series.version();
    await series.update();
    expect(series.version()).toBe(version);
  });

  it('begin anew for a run that goes on from a snapshot, and take a stage that is measured again once', async () => {
    const folder = join(await scratchFolder(), 'resumed.run');
    const first = await openRun(folder, description);
    for (let update = 1; update <= 6; update++) first.log({ update, loss: 1 });
    await first.finish('interrupted');
    const series = runSeries(folder);
    await series.update();
    const keep = ({ update }: { readonly update?: unknown }): boolean => Number(update) <= 4;
    const second = await openRun(folder, description, { resume: true, keep });
    second.log({ update: 5, loss: 2 });
    for (const update of [1, 2, 3, 2]) second.log({ stage: 'logits', update, loss: update });
    await series.update();
    const [whole, stage] = series.groups();
    expect(whole.curves.loss).toEqual({ x: [1, 2, 3, 4, 5], y: [1, 1, 1, 1, 2] });
    expect(stage.curves.loss).toEqual({ x: [1, 2], y: [1, 2] });
  });

  it('wait for a line that is being written, and refuse what is none', async () => {
    const folder = join(await scratchFolder(), 'torn.run');
    await openRun(folder, description);
    const file = join(folder, 'metrics.jsonl');
    const series = runSeries(folder);
    await writeFile(file, '{"update":1,"loss":2}\n{"update":2,"lo');
    await series.update();
    expect(series.groups()[0].curves.loss.x).toEqual([1]);
    await writeFile(file, '{"update":1,"loss":2}\n{"update":2,"loss":[1]}\n');
    await expect(series.update()).rejects.toThrow(/is not a valid record/);
  });
});
