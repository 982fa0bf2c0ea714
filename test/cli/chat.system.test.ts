/** `linnet chat`: turns, commands, sessions. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { suiteFolder } from '../scratch-folder.ts';
import { chatTemplate, tinyLlamaFolder } from '../serving/served.ts';
import { type CapturedRun, errorOf, jsonOf, linnet, runCaptured } from './captured-cli.ts';

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

  it('ends by /exit, too', async () => {
    const { stdout, exitCode } = await chat(['/state', '/exit', '/help']);
    expect(exitCode).toBe(0);
    expect(stdout).toBe('0 tokens in 0 turns, 0 B of state, no forks\n');
  });

  it('refuses a template that is not valid before the first line', async () => {
    const broken = join(folder, 'broken.jinja');
    writeFileSync(broken, '{% if %}');
    const { stdout, stderr, exitCode } = await chat(['Hello'], '--chat-template', broken);
    expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: '' });
    expect(stderr).toMatch(/is not valid: /);
  });

  it('goes on after mistakes', async () => {
    const { stdout, exitCode } = await chat(['/save', '/nothing', '/undo', '/help', '', '/quit', 'never read']);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/give a file.*\/nothing is not a command.*no turn to remove.*\/quit ends/s);
  });
});

describe('linnet chat --tools', () => {
  const tools = join(folder, 'tools.json');
  const city = { type: 'object', properties: { city: { enum: ['Paris', 'Oslo'] } }, required: ['city'] };
  const weather = { type: 'function', function: { name: 'weather', parameters: city } };
  beforeAll(() => writeFileSync(tools, JSON.stringify([weather])));
  const spoken = ['--chat-template', template, '--tools', tools, '--tool-format', 'llama3'];
  const called = /^weather\(\{ ?"city": ?"(Paris|Oslo)" ?\}\)$/m;

  it('shows a call, takes the result that is typed, and goes on', async () => {
    const words = [...spoken, '--tool-choice', 'weather', '--max-tokens', '200'];
    const run = await chat(['Hello', 'sunny', '/state', '/undo', '/state'], ...words);
    expect(run.exitCode, run.stderr).toBe(0);
    expect(run.stdout).toMatch(called);
    expect(run.stdout).toMatch(/tokens in 1 turns/);
    expect(run.stdout).toMatch(/removed the last turn\n.*tokens in 0 turns/);
  });

  it('reads the call and its result, and saves them with the session', async () => {
    const file = join(folder, 'called.session');
    const words = ['--tool-choice', 'required', '--max-tokens', '200'];
    const said = await chat(['Hello', 'sunny', `/save ${file}`, '/state'], ...spoken, ...words);
    const resumed = await chat(['/state'], ...spoken, '--session', file);
    const size = /([\d,]+) tokens in/;
    expect(size.exec(resumed.stdout)?.[1]).toBe(size.exec(said.stdout)?.[1]);
    const other = await chat(['Hello', 'rainy and cold', '/state'], ...spoken, ...words);
    expect(size.exec(other.stdout)?.[1]).not.toBe(size.exec(said.stdout)?.[1]);
  });

  it('gives the call to a command once that is confirmed, or unasked with --yes', async () => {
    const command = ['--tool-command', `sed 's/.*"arguments":/got /'`];
    const words = [...spoken, '--tool-choice', 'required', '--max-tokens', '200', ...command];
    const got = /^got \{ ?"city": ?"(Paris|Oslo)" ?\}\}$/m;
    expect((await chat(['Hello', 'y'], ...words)).stdout).toMatch(got);
    expect((await chat(['Hello'], ...words, '--yes')).stdout).toMatch(got);
    const declined = await chat(['Hello', 'n', 'typed', '/state'], ...words);
    expect(declined.stdout).not.toMatch(got);
    expect(declined.stdout).toMatch(/tokens in 1 turns/);
  });

  it('tells the model of a command that fails', async () => {
    const words = ['--tool-choice', 'required', '--max-tokens', '200', '--tool-command', 'exit 3', '--yes'];
    expect((await chat(['Hello'], ...spoken, ...words)).stdout).toMatch(/^the command failed: exit code 3$/m);
  });

  it('ends a command that prints too much, and waits for nothing that it has started', async () => {
    const flood = '(sleep 30 & head -c 2000000 /dev/zero) 2>/dev/null';
    const words = ['--tool-choice', 'required', '--max-tokens', '200', '--tool-command', flood, '--yes'];
    const started = performance.now();
    expect((await chat(['Hello'], ...spoken, ...words)).stdout).toMatch(
      /^the command printed more than 1048576 bytes$/m,
    );
    expect(performance.now() - started).toBeLessThan(25_000);
  });

  it.each([
    ['not JSON', '[{', 'FORMAT'],
    ['no list', '{}', 'FORMAT'],
    ['two of a name', JSON.stringify([weather, weather]), 'FORMAT'],
    ['a name with blanks', JSON.stringify([{ type: 'function', function: { name: 'a b' } }]), 'FORMAT'],
  ])('refuses a file that is %s', async (_, content, code) => {
    const file = join(folder, 'refused.json');
    writeFileSync(file, content);
    expect(errorOf(await chat([], '--chat-template', template, '--tools', file, '--json')).code).toBe(code);
  });

  it('refuses options that do not go together, and models without a template', async () => {
    const codes = [];
    const wrong = [
      [...spoken, '--yes'],
      ['--tool-command', 'true'],
      ['--chat-template', template, '--tool-format', 'llama3'],
      [...spoken, '--tool-choice', 'clock'],
      [...spoken, '--tool-format', 'llama'],
      ['--tools', tools],
    ];
    for (const words of wrong) codes.push(errorOf(await chat([], ...words, '--json')).code);
    expect(codes).toEqual(['USAGE', 'USAGE', 'USAGE', 'USAGE', 'USAGE', 'CONFIG']);
  });

  it('says which function a text cannot be held to, and goes on', async () => {
    const file = join(folder, 'unheld.json');
    const parameters = { properties: { a: { not: { type: 'null' } } } };
    writeFileSync(file, JSON.stringify([{ type: 'function', function: { name: 'f', parameters } }]));
    const run = await chat(['Hello', '/state'], '--chat-template', template, '--tools', file);
    expect(run.stdout).toMatch(/function "f".*"not"[^]*0 tokens in 0 turns/);
  });
});
