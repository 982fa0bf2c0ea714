/** A disk that fails while files are read: an error that names the file, exit code 74, and nothing half-written. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { readLines, readTextFile } from '../../src/data/files/text-file.ts';
import { readExactly } from '../../src/files/regular-file.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { linnet } from './captured-cli.ts';

/** A regular file whose first bytes cannot be read, on Linux. */
const unreadable = '/proc/self/mem';

describe.skipIf(!existsSync(unreadable))('a read that fails', () => {
  const refused = { code: 'PATH', message: expect.stringMatching(/^cannot read \/proc\/self\/mem: EIO/) as unknown };

  it('names its file', async () => {
    await using handle = await open(unreadable);
    await expect(readExactly(handle, new Uint8Array(4), 0, unreadable)).rejects.toMatchObject(refused);
    await expect(readTextFile(unreadable)).rejects.toMatchObject(refused);
    await expect(readLines(unreadable, 100).next()).rejects.toMatchObject(refused);
  });
});

const hasStrace = spawnSync('strace', ['-V']).status === 0;
const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

describe.skipIf(!hasStrace)(`commands${hasStrace ? '' : ' (skipped: strace is not installed)'}`, () => {
  const folder = suiteFolder();
  const [model, exported, text, session] = ['model', 'exported', 'text.jsonl', 'talk.session'].map((name) =>
    join(folder, name),
  );
  const small = ['--batch', '1', '--length', '8', '--threads', '1', '--quiet'];
  const tuned = join(folder, 'tuned');
  const tune = ['finetune', model, '--data', text, '--steps', '4', '--snapshot-every', '2', '--out', tuned, ...small];
  const out = ['--out', join(folder, 'new'), '--quiet'];
  const write = ['--prompt', 'ab', '--max-tokens', '2', '--quiet'];

  beforeAll(async () => {
    await saveTinyModel(model);
    await writeFile(text, '{"text":"abababab"}\n'.repeat(20));
    await linnet('export', model, '--out', exported, '--dtype', 'f32');
    await linnet('generate', model, ...write, '--session', session);
    await linnet(...tune);
    await cp(`${tuned}.run`, `${join(folder, 'half')}.run`, { recursive: true });
  }, 120_000);

  it.each([
    ['weights', join(model, 'model.safetensors'), ['generate', model, ...write]],
    ['weights in their middle', join(model, 'model.safetensors'), ['linearize', model, '--mixer', 'window', ...out], 3],
    ['a tokenizer', join(model, 'tokenizer.json'), ['generate', model, ...write]],
    ['a configuration', join(model, 'config.json'), ['export', model, '--dtype', 'f32', ...out]],
    ['an exported graph', join(exported, 'model.onnx'), ['generate', exported, ...write]],
    ['a session', session, ['generate', model, ...write, '--session', session]],
    ['text', text, ['finetune', model, '--data', text, '--steps', '2', ...small, ...out.slice(0, 2)]],
    ['the record of a run', join(folder, 'half.run/run.json'), resumed()],
  ])('end with 74 where %s cannot be read', { timeout: 60_000 }, async (_, path, words, time = 1) => {
    const before = await readdir(folder, { recursive: true });
    const { status, stderr } = run(path, words, time);
    expect(status, stderr).toBe(74);
    expect(stderr.trim().split('\n').at(-1)).toBe(`linnet: cannot read ${path}: EIO: i/o error, read`);
    expect(await readdir(folder, { recursive: true })).toEqual(before);
  });

  it('go on from the snapshot before one that cannot be read, to the same bytes', { timeout: 60_000 }, async () => {
    const { status, stderr } = run(join(folder, 'half.run/snapshots/update-000000004.safetensors'), resumed());
    expect(status, stderr).toBe(0);
    const [whole, again] = await Promise.all(
      [tuned, join(folder, 'half')].map((place) => readFile(join(place, 'model.safetensors'))),
    );
    expect(again.equals(whole)).toBe(true);
  });

  /** Runs a command one of whose reads of a file fails. @param time which one */
  function run(path: string, words: readonly string[], time = 1) {
    const calls = 'read,pread64,readv,preadv,preadv2';
    const fault = ['-e', `trace=${calls}`, '-e', `inject=${calls}:error=EIO:when=${time}`];
    const command = [
      '-f',
      '-o',
      '/dev/null',
      '-P',
      path,
      ...fault,
      process.execPath,
      '--import',
      'tsx',
      main,
      ...words,
    ];
    return spawnSync('strace', command, { encoding: 'utf8' });
  }

  function resumed(): string[] {
    return tune.map((word) => (word === tuned ? join(folder, 'half') : word)).concat('--resume');
  }
});
