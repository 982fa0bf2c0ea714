/** `linnet generate`: prompts, seeds, sessions, interruption, and what it refuses. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { errorOf, linnet, runCaptured, runJson } from './captured-cli.ts';
import { linearizedModels } from '../models/linearized-models.ts';

const { folder, augmented, hybrid, leaking } = linearizedModels();

describe('generate', () => {
  const sampled = ['--temperature', '1', '--top-p', '0.95', '--repetition-penalty', '1.1', '--ignore-eos'];

  it('continues a text after BOS and token ids as they are', async () => {
    const byText = await runJson('generate', augmented, '--prompt', 'Hi', '--max-tokens', '6', '--ignore-eos');
    const ids = '256,72,105';
    const byIds = await runJson('generate', augmented, '--prompt-tokens', ids, '--max-tokens', '6', '--ignore-eos');
    expect(byIds.tokens).toEqual(byText.tokens);
    expect(byText).toMatchObject({ steps: 6, promptTokens: 3, finish: 'length' });
    expect(byText.tokensPerSecond).toBeGreaterThan(0);
    expect(await runJson('generate', augmented, '--prompt-tokens', '72,105', '--max-tokens', '1')).toMatchObject({
      promptTokens: 2,
    });
    expect(await runJson('generate', augmented, '--max-tokens', '1')).toMatchObject({ promptTokens: 1 });
  });

  it('reads the prompt from a file, and streams the same text that --json gives', async () => {
    const file = join(folder, 'prompt.txt');
    await writeFile(file, 'Hi');
    const words = ['generate', augmented, '--prompt-file', file, '--max-tokens', '20', '--ignore-eos'];
    const pieces: string[] = [];
    const streamed = await runCaptured(words, { onOutput: (text) => pieces.push(text) });
    expect(streamed.stdout).toBe(`${String((await runJson(...words)).text)}\n`);
    expect(pieces.length).toBeGreaterThan(3);
  });

  it('writes JSON of a schema, and refuses what cannot be one', async () => {
    const file = join(folder, 'thing.schema.json');
    await writeFile(file, JSON.stringify({ properties: { a: { enum: [1, 2] } }, required: ['a'] }));
    const words = ['generate', augmented, '--prompt', 'Hi', '--json-schema', file];
    const { text, finish } = await runJson(...words);
    expect(finish).toBe('eos');
    expect([{ a: 1 }, { a: 2 }]).toContainEqual(JSON.parse(String(text)));
    const endless = await runCaptured([...words, '--ignore-eos']);
    expect(endless.stderr).toMatch(/JSON and calls end with EOS; leave out --ignore-eos/);
    await writeFile(file, '{"not": {"type": "null"}}');
    expect((await runCaptured(words)).stderr).toContain('"not" is not supported');
  });

  it('repeats with the seed and differs with another', async () => {
    const words = ['generate', augmented, '--prompt', 'Hi', '--max-tokens', '20', ...sampled];
    const first = await runJson(...words, '--seed', '3');
    expect((await runJson(...words, '--seed', '3')).tokens).toEqual(first.tokens);
    expect((await runJson(...words, '--seed', '4')).tokens).not.toEqual(first.tokens);
  });

  it.each([['augmented'], ['hybrid'], ['base']])('goes on from a session as if unbroken: %s', async (name) => {
    const model = join(folder, name);
    const file = join(folder, `${name}.session`);
    const words = ['generate', model, ...sampled, '--seed', '5'];
    const whole = await runJson(...words, '--prompt', 'Hi', '--max-tokens', '24');
    const first = await runJson(...words, '--prompt', 'Hi', '--max-tokens', '11', '--session', file);
    const second = await runJson(...words, '--max-tokens', '13', '--session', file);
    expect([first.tokens, second.tokens].flat()).toEqual(whole.tokens);
  });

  it('saves the session when interrupted, and says how to go on', async () => {
    const file = join(folder, 'interrupted.session');
    const controller = new AbortController();
    const words = ['generate', augmented, '--prompt', 'Hi', '--max-tokens', '100000', '--ignore-eos'];
    const stopped = await runCaptured([...words, '--session', file], {
      signal: controller.signal,
      onOutput: () => controller.abort(),
    });
    expect(stopped.exitCode).toBe(130);
    expect(stopped.stderr).toContain(`--session ${file}`);
    const more = await runJson('generate', augmented, '--session', file, '--max-tokens', '4', '--ignore-eos');
    expect(more.tokens).toHaveLength(4);
  });

  it('refuses the session of another model', async () => {
    const file = join(folder, 'other.session');
    await runJson('generate', augmented, '--prompt', 'Hi', '--max-tokens', '3', '--session', file);
    const result = await linnet('generate', hybrid, '--session', file, '--json');
    expect(result.exitCode).toBe(3);
    expect(errorOf(result).code).toBe('MISMATCH');
  });

  it.each([
    [['--prompt', 'a', '--prompt-tokens', '1'], 2],
    [['--max-tokens', '0'], 2],
    [['--temperature', '-1'], 2],
    [['--top-p', '0'], 2],
    [['--prompt-tokens', '1,,2'], 2],
    [['--prompt-tokens', '258'], 3],
    [['--prompt-file', 'nowhere.txt'], 3],
    [['--device', 'tpu'], 2],
  ])('refuses %j', async (words, exitCode) => {
    const result = await linnet('generate', augmented, ...words, '--json');
    expect(result.exitCode).toBe(exitCode);
    expect(errorOf(result).message).not.toBe('');
  });

  it('refuses a model that cannot decode', async () => {
    expect((await linnet('generate', leaking, '--prompt', 'Hi')).exitCode).toBe(3);
  });
});
