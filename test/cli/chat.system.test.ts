/** `linnet chat`: turns, commands, sessions. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { suiteFolder } from '../scratch-folder.ts';
import { chatTemplate, tinyLlamaFolder } from '../serving/served.ts';
import { type CapturedRun, jsonOf, linnet, runCaptured } from './captured-cli.ts';

const folder = suiteFolder();
const model = join(folder, 'linear');
const template = join(folder, 'chat.jinja');
beforeAll(async () => {
  writeFileSync(template, chatTemplate);
  expect((await linnet('linearize', tinyLlamaFolder, '--mixer', 'augmented', '--out', model)).exitCode).toBe(0);
});

function chat(lines: readonly string[], ...words: string[]): Promise<CapturedRun> {
  return runCaptured(['chat', model, '--max-tokens', '8', '--threads', '1', ...words], { lines });
}

describe('linnet chat', () => {
  it('continues what is written, as generate does', async () => {
    const { stdout } = await chat(['Once upon a time']);
    const words = ['--prompt', 'Once upon a time', '--max-tokens', '8', '--threads', '1'];
    expect(stdout).toBe((await linnet('generate', model, ...words)).stdout);
  });

  it('undoes a turn, forks, switches, and says what the state is', async () => {
    const once = await chat(['Once upon a time', ' And then']);
    const undone = await chat([
      'Once upon a time',
      '/fork start',
      ' But',
      '/undo',
      ' And then',
      '/switch start',
      ' And then',
      '/state',
    ]);
    const [first, second] = once.stdout.trimEnd().split('\n');
    const lines = undone.stdout
      .trimEnd()
      .split('\n')
      .filter((line) => line === first || line === second);
    expect(lines).toEqual([first, second, second]);
    expect(undone.stdout).toMatch(/tokens in 2 turns, .* of state, forks: start/);
  });

  it('saves a session that another chat takes up', async () => {
    const file = join(folder, 'talk.session');
    const saved = await chat(['Once upon a time', `/save ${file}`, ' And then']);
    expect(existsSync(file)).toBe(true);
    const resumed = await chat([' And then'], '--session', file);
    expect(saved.stdout.endsWith(resumed.stdout)).toBe(true);
  });

  it('speaks by a template, and reads of later turns only what is new', async () => {
    const words = ['--chat-template', template, '--system', 'Be brief.', '--json'];
    const run = await runCaptured(['chat', model, '--max-tokens', '8', '--threads', '1', ...words], {
      lines: ['Hello', 'Why?'],
    });
    expect(jsonOf(run)).toMatchObject({ turns: 2 });
  });

  it('goes on after mistakes', async () => {
    const { stdout, exitCode } = await chat(['/save', '/nothing', '/undo', '/help', '', '/quit', 'never read']);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/give a file.*\/nothing is not a command.*nothing to take back.*\/quit ends/s);
  });
});
