/** What a command that runs a model leaves behind besides its answer: nothing, neither files nor traffic. */
import { spawnSync } from 'node:child_process';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { suiteFolder } from '../scratch-folder.ts';
import { saveTinyModel } from '../models/tiny-model.ts';

const folder = suiteFolder();
const model = join(folder, 'model');
const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const hasStrace = spawnSync('strace', ['-V']).status === 0;

beforeAll(() => saveTinyModel(model));

/** Runs `linnet ...words` as somebody whose folders are all empty; `tracer` is a program to run it under. */
async function runAtHome(name: string, words: readonly string[], tracer: readonly string[] = []) {
  const home = join(folder, name);
  await mkdir(home);
  const env: NodeJS.ProcessEnv = { ...process.env, HOME: home, XDG_CACHE_HOME: join(home, 'cache') };
  delete env.ORT_DISABLE_TELEMETRY;
  const [program, ...given] = [...tracer, process.execPath, '--import', 'tsx', main, ...words];
  const { status, signal, stderr } = spawnSync(program, given, { env, encoding: 'utf8' });
  expect({ status, signal }, stderr).toEqual({ status: 0, signal: null });
  return readdir(home, { recursive: true });
}

const generate = (...words: string[]): string[] => ['generate', model, '--max-tokens', '3', ...words];

describe('a command that runs a model', () => {
  it('writes nothing into the folders of its user', async () => {
    expect(await runAtHome('files', generate('--prompt', 'a'))).toEqual([]);
  });

  it('survives a long command line', async () => {
    // The second prompt counts.
    expect(await runAtHome('long', generate('--prompt', 'la '.repeat(12_000), '--prompt', 'a'))).toEqual([]);
  });

  it.skipIf(!hasStrace)('looks up no name and connects to no host (seen with strace)', async () => {
    const log = join(folder, 'strace.txt');
    await runAtHome('traffic', generate('--prompt', 'a'), ['strace', '-f', '-e', 'trace=connect,openat', '-o', log]);
    const calls = await readFile(log, 'utf8');
    expect(calls).toContain('libonnxruntime');
    expect(calls.split('\n').filter((call) => /AF_INET|resolv\.conf|\/etc\/hosts|nsswitch\.conf/.test(call))).toEqual(
      [],
    );
  });
});
