/** `linnet download`, from a local server that speaks the protocol of the hub. */
import { readdir, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { commit, hubWithDataset, hubWithFolder, hubWithModel, id, token } from '../imitated-hub.ts';
import { scratchFolder } from '../scratch-folder.ts';
import { errorOf, jsonOf, runCaptured } from './captured-cli.ts';

/** A hub and the words of a command that fetches its model into `out`. */
async function prepared() {
  const { hub, endpoint } = await hubWithModel();
  const out = join(await scratchFolder(), 'model');
  return { hub, endpoint, out, words: ['download', id, '--endpoint', endpoint, '--out', out] };
}

/** Bytes of the files in `folder` whose name starts with `name`; 0 when there are none. */
async function bytesOf(folder: string, name: string): Promise<number> {
  const names = await readdir(folder).catch(() => []);
  const sizes = names
    .filter((file) => file.startsWith(name))
    .map(async (file) => (await stat(join(folder, file))).size);
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

describe('download', () => {
  it('fetches a model once, and says what it has', async () => {
    const { words, out } = await prepared();
    const first = jsonOf(await runCaptured([...words, '--json']));
    expect(first).toMatchObject({ id, revision: 'main', commit, out, alreadyThere: false });
    expect(Object.keys(first.files ?? {}).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
    expect(jsonOf(await runCaptured([...words, '--json']))).toEqual({ ...first, alreadyThere: true });
    const again = await runCaptured([...words, '--revision', commit]);
    expect(again).toMatchObject({ exitCode: 0, stderr: '' });
    expect(again.stdout).toMatch(/^already there: .*model: owner\/model at c{40}, 3 files, [\d.]+ KiB\n$/);
  });

  it('takes patterns', async () => {
    const { words, out } = await prepared();
    const patterns = ['--include', '*.md', '--exclude', '*.safetensors', '--exclude', 'tokenizer*'];
    jsonOf(await runCaptured([...words, ...patterns, '--json']));
    expect((await readdir(out)).sort()).toEqual(['README.md', 'config.json', 'linnet-source.json']);
  });

  it('stops at Ctrl-C, and goes on from there', async () => {
    const { hub, words, out } = await prepared();
    const stop = new AbortController();
    hub.cuts.push(100_000, 100_000, 1500);
    hub.cutAfter = 60_000;
    const partial = join(out, '..', `.model.${commit}.partial`);
    const stopping = (async () => {
      while ((await bytesOf(partial, 'model.safetensors')) < 1500) await setTimeout(5);
      stop.abort();
    })();
    const stopped = await runCaptured([...words, '--json'], { signal: stop.signal });
    await stopping;
    expect(stopped.exitCode).toBe(130);
    expect(errorOf(stopped)).toMatchObject({ code: 'ABORTED' });
    expect(await readdir(join(out, '..'))).toEqual([`.model.${commit}.partial`]);
    hub.log.length = 0;
    jsonOf(await runCaptured([...words, '--json']));
    expect(hub.downloads()).toEqual([expect.stringMatching(/^content model\.safetensors bytes=[1-9]\d*-/)]);
  });

  it('takes hub and token from the environment, and shows the token nowhere', async () => {
    const { hub, endpoint, out } = await prepared();
    hub.needsToken = true;
    const words = ['download', id, '--out', out, '--json'];
    const refused = await runCaptured(words, { environment: { HF_ENDPOINT: endpoint } });
    expect(refused.exitCode).toBe(3);
    expect(errorOf(refused).message).toContain('give a token with access');
    const run = await runCaptured(words, { environment: { HF_ENDPOINT: endpoint, HF_TOKEN: token } });
    expect(jsonOf(run)).toMatchObject({ commit });
    expect(run.stdout + run.stderr).not.toContain(token);
    expect(hub.tokenLeaked).toBe(false);
  });

  it.each([
    ['a name that leads elsewhere', '../../etc', [], 'INPUT'],
    ['an unknown revision', id, ['--revision', 'v9'], 'NOT_FOUND'],
    ['patterns that leave nothing', id, ['--exclude', '*'], 'INPUT'],
  ])('refuses %s', async (_, name, options, code) => {
    const { endpoint, out } = await prepared();
    const run = await runCaptured(['download', name, '--endpoint', endpoint, '--out', out, ...options, '--json']);
    expect(run.exitCode).toBe(3);
    expect(errorOf(run)).toMatchObject({ code });
  });
});

describe('a model of the hub', () => {
  /** A hub with a model that generates, and an empty folder for downloads. */
  async function emptyHome() {
    const home = await scratchFolder();
    vi.stubEnv('HOME', home);
    return { kept: join(home, '.cache/linnet/owner--model'), ...(await hubWithFolder('assets/tiny-llama')) };
  }

  it.each<[string, string[], RegExp]>([
    ['generate', ['--prompt', 'Once', '--max-tokens', '2'], /./],
    ['chat', ['--max-tokens', '2'], /./],
    ['serve', ['--port', '0', '--no-ui'], /^owner\/model at http/],
  ])(
    'is fetched by %s, which says first what it fetches, and later used without a network',
    async (name, words, said) => {
      const { kept, hub, endpoint } = await emptyHome();
      const served = new AbortController();
      const run = (hubAddress: string) =>
        runCaptured([name, id, ...words], {
          environment: { HF_ENDPOINT: hubAddress },
          ...(name === 'serve' && { signal: served.signal, onOutput: () => served.abort() }),
          lines: ['Once', '/quit'],
        });
      const first = await run(endpoint);
      const announcement = `fetching owner/model of ${endpoint}: 4 files, `;
      expect(first.stderr.split('\n')[0]).toMatch(new RegExp(`^${announcement}[\\d.]+ MiB, to ${kept}$`));
      expect(first.exitCode).toBe(0);
      expect(first.stdout).toMatch(said);
      hub.log.length = 0;
      const second = await run('http://127.0.0.1:9');
      expect(second.exitCode).toBe(0);
      expect(second.stdout).toMatch(said);
      expect(second.stderr).not.toContain('fetching');
      expect(hub.log).toEqual([]);
    },
  );

  it('is taken at a revision by all commands, from the name or the address of its page', async () => {
    const { hub, endpoint } = await emptyHome();
    const run = (words: string[]) => runCaptured([...words, '--json'], { environment: { HF_ENDPOINT: endpoint } });
    const once = ['--prompt', 'Once', '--max-tokens', '2'];
    expect(errorOf(await run(['generate', `${id}@v9`, ...once])).message).toContain('at revision "v9"');
    jsonOf(await run(['generate', `${id}@${commit}`, ...once]));
    hub.log.length = 0;
    for (const name of [id, `${id}@${commit}`, `https://huggingface.co/${id}/tree/${commit}`]) {
      jsonOf(await run(['inspect', name]));
      jsonOf(await run(['generate', name, ...once]));
    }
    expect(hub.log).toEqual([]);
    const download = `download ${id}@main`;
    expect(errorOf(await run(['inspect', `${id}@main`])).message).toContain(`"linnet ${download}" fetches it`);
    expect(jsonOf(await run(download.split(' ')))).toMatchObject({ revision: 'main', commit, alreadyThere: true });
    jsonOf(await run(['inspect', `${id}@main`]));
  });

  it('is fetched anew where a file of it has been cut', async () => {
    const { kept, endpoint } = await emptyHome();
    const run = () =>
      runCaptured(['generate', id, '--prompt', 'Once', '--max-tokens', '2'], {
        environment: { HF_ENDPOINT: endpoint },
      });
    const { stdout } = await run();
    await truncate(join(kept, 'model.safetensors'), 1000);
    const again = await run();
    expect(again, again.stderr).toMatchObject({ exitCode: 0, stdout });
    expect(again.stderr).toContain('fetching owner/model');
  });

  it('that is not here and cannot be reached is refused, with what to do', async () => {
    await emptyHome();
    const run = await runCaptured(['generate', id, '--json'], { environment: { HF_ENDPOINT: 'http://127.0.0.1:9' } });
    expect(run.exitCode).toBe(3);
    const { code, message } = errorOf(run);
    expect(code).toBe('NOT_FOUND');
    expect(message).toMatch(
      /there is no folder .*owner.model, and cannot fetch owner\/model from http:\/\/127\.0\.0\.1:9: /,
    );
    expect(message).toContain('without a network, give a folder that "linnet download owner/model --out FOLDER" made');
  });

  it('is never meant by a path', async () => {
    const { hub, endpoint } = await emptyHome();
    const run = await runCaptured(['chat', `./${id}`, '--json'], { environment: { HF_ENDPOINT: endpoint } });
    expect(errorOf(run)).toMatchObject({ code: 'NOT_FOUND' });
    expect(hub.log).toEqual([]);
  });
});

describe('download --dataset', () => {
  it('puts rows where eval tasks finds them', async () => {
    const row = { goal: 'How do you carry apples?', sol1: 'In a basket.', sol2: 'With a spoon.', label: 0 };
    const rows = `${JSON.stringify(row)}\n`.repeat(3);
    const { endpoint } = await hubWithDataset({ 'validation.jsonl': rows, 'train.jsonl': rows });
    const data = await scratchFolder();
    const place = ['--endpoint', endpoint, '--out', join(data, 'baber__piqa')];
    const fetched = jsonOf(
      await runCaptured(['download', '--dataset', id, '--split', 'validation', ...place, '--json']),
    );
    expect(Object.keys(fetched.files ?? {})).toEqual(['validation.jsonl']);
    const requests = join(data, 'requests.jsonl');
    const words = [
      'eval',
      'tasks',
      'assets/tiny-llama',
      '--tasks',
      'piqa',
      '--data',
      data,
      '--write-requests',
      requests,
    ];
    expect(jsonOf(await runCaptured([...words, '--json']))).toMatchObject({ requests: 6 });
    const wrong = await runCaptured(['download', id, '--config', 'sst2', ...place]);
    expect(wrong).toMatchObject({ exitCode: 2, stdout: '' });
    const missing = await runCaptured([
      'eval',
      'tasks',
      'assets/tiny-llama',
      '--tasks',
      'copa',
      '--data',
      data,
      '--json',
    ]);
    expect(errorOf(missing).message).toContain('linnet download --dataset aps/super_glue --out');
  });
});
