/** Where prompts and data come from besides options and files: pipes, control tokens, chat templates. */
import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { errorOf, jsonOf, lastJson, linnet, runCaptured, runJson } from './captured-cli.ts';

const place = suiteFolder();
const base = join(place, 'base');
const chatty = join(place, 'chatty');
/** BOS and EOS of the tiny model's tokenizer. */
const bos = 256;
const eos = 257;
const bytes = (text: string): number[] => [...Buffer.from(text)];
const words = ['--max-tokens', '5', '--ignore-eos', '--threads', '1'];

beforeAll(async () => {
  await saveTinyModel(base);
  await saveTinyModel(chatty);
  const template = '{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}[assistant]';
  await writeFile(join(chatty, 'chat_template.jinja'), template);
});

describe('a prompt', () => {
  it('from a pipe is the text without the last line break', async () => {
    const given = await runJson('generate', base, '--prompt', 'the rain\nfell', ...words);
    const piped = (...more: string[]): Promise<unknown> =>
      runCaptured(['generate', base, ...words, ...more, '--json'], { input: 'the rain\nfell\n' }).then(
        (run) => jsonOf(run).tokens,
      );
    expect(await piped()).toEqual(given.tokens);
    expect(await piped('--prompt', '-')).toEqual(given.tokens);
    expect(await piped('--prompt-file', '-')).toEqual(given.tokens);
    const own = await runCaptured(['generate', base, '--prompt', 'x', ...words, '--json'], { input: 'ignored' });
    expect(jsonOf(own).promptTokens).toBe(2);
  });

  it('may hold control tokens where that is asked for', async () => {
    const ids = [bos, ...bytes('a'), eos, ...bytes('b')];
    const names = await controlNames();
    const text = `${names.bos}a${names.eos}b`;
    const parsed = await runJson('generate', base, '--prompt', text, '--parse-special', ...words);
    const expected = await runJson('generate', base, '--prompt-tokens', ids.join(','), ...words);
    expect([parsed.promptTokens, parsed.tokens]).toEqual([ids.length, expected.tokens]);
    expect((await runJson('generate', base, '--prompt', text, ...words)).promptTokens).toBe(1 + text.length);
  });

  it('is a message with --chat', async () => {
    const ids = [...bytes('[system]Be brief.'), eos, ...bytes('[user]Hello'), eos, ...bytes('[assistant]')];
    const chat = await runJson('generate', chatty, '--chat', '--system', 'Be brief.', '--prompt', 'Hello', ...words);
    const expected = await runJson('generate', chatty, '--prompt-tokens', ids.join(','), ...words);
    expect([chat.promptTokens, chat.tokens]).toEqual([ids.length, expected.tokens]);
    const without = await linnet('generate', base, '--chat', '--prompt', 'Hello', '--json');
    expect(errorOf(without).message).toMatch(/has no chat template; leave out --chat/);
    for (const wrong of [['--system', 'x'], ['--chat'], ['--chat', '--parse-special', '--prompt', 'x']]) {
      expect((await linnet('generate', chatty, ...wrong)).exitCode).toBe(2);
    }
  });
});

/** How the tokenizer writes its control tokens. */
async function controlNames(): Promise<{ bos: string; eos: string }> {
  const { loadTokenizer } = await import('../../src/tokenizer/tokenizer.ts');
  const names = new Map([...((await loadTokenizer(base)).specialNames ?? [])].map(([name, id]) => [id, name]));
  return { bos: names.get(bos) ?? '', eos: names.get(eos) ?? '' };
}

describe('a real pipe', () => {
  const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
  /** Through a shell, whose pipes are what people use. */
  const shell = (line: string): { stdout: string; stderr: string; status: number | null } =>
    spawnSync('sh', ['-c', line.replace('LINNET', `"${process.execPath}" --import tsx "${main}"`)], {
      encoding: 'utf8',
    });

  it.skipIf(process.platform === 'win32')('brings prompts, and data as one document', async () => {
    const { stdout, stderr } = shell(`echo "the rain" | LINNET generate "${base}" ${words.join(' ')} --json`);
    const run = { exitCode: 0, stdout, stderr };
    expect(lastJson(run).tokens).toEqual((await runJson('generate', base, '--prompt', 'the rain', ...words)).tokens);
    const file = join(place, 'text.txt');
    await writeFile(file, 'It was a dark and stormy night.\n'.repeat(4));
    const measured = shell(`LINNET eval perplexity "${base}" --data - --length 32 --json < "${file}"`);
    const { nll } = await runJson('eval', 'perplexity', base, '--data', file, '--length', '32');
    expect(lastJson({ exitCode: 0, ...measured }).nll).toBe(nll);
  });
});
