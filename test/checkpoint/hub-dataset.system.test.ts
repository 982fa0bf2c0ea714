/** Data sets from a server that speaks the protocol of the hub. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { commit, hubWithDataset, id } from '../imitated-hub.ts';
import { scratchFolder } from '../scratch-folder.ts';
import { hubSource } from '../../src/checkpoint/hub/hub.ts';

const rows = '{"text":"a","label":0}\n'.repeat(40);
const files = {
  'README.md': '# rows',
  'load.py': 'print("never run")',
  'sst2/train-00000-of-00001.parquet': 'p1'.repeat(900),
  'sst2/validation-00000-of-00001.parquet': 'p2'.repeat(900),
  'mrpc/validation-00000-of-00001.parquet': 'p3'.repeat(900),
  'data/lambada_test_en.jsonl': rows,
};

async function prepared(given: Readonly<Record<string, string>> = files) {
  const { hub, endpoint } = await hubWithDataset(given);
  const target = join(await scratchFolder(), 'data', 'owner__model');
  return { hub, target, source: hubSource({ endpoint, retryDelay: 1, retries: 2 }) };
}

const below = async (folder: string): Promise<string[]> =>
  (await readdir(folder, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();

describe('fetchDataset', () => {
  it('fetches files with rows, and nothing else', async () => {
    const { target, source } = await prepared();
    const record = await source.fetchDataset(id, 'main', target);
    expect(record).toMatchObject({ id, commit });
    const names = Object.keys(files).filter((name) => !['README.md', 'load.py'].includes(name));
    expect(await below(target)).toEqual([...names, 'linnet-source.json'].sort());
    expect(await readFile(join(target, 'sst2/train-00000-of-00001.parquet'), 'utf8')).toBe('p1'.repeat(900));
  });

  it('takes configurations and splits, one after the other', async () => {
    const { hub, target, source } = await prepared();
    const part = { configs: ['sst2'], splits: ['validation'] };
    await source.fetchDataset(id, 'main', target, part);
    const first = 'sst2/validation-00000-of-00001.parquet';
    expect(await below(target)).toEqual(['linnet-source.json', first]);
    hub.log.length = 0;
    await source.fetchDataset(id, 'main', target, part);
    expect(hub.downloads()).toEqual([]);
    await source.fetchDataset(id, 'main', target, { configs: ['mrpc'] });
    expect(await below(target)).toEqual(['linnet-source.json', 'mrpc/validation-00000-of-00001.parquet', first]);
    // What is there is not fetched again.
    expect(hub.downloads()).toEqual([expect.stringContaining('mrpc/')]);
    await source.fetchDataset(id, 'main', target, { configs: ['default'], splits: ['test'] });
    expect(await below(target)).toContain('data/lambada_test_en.jsonl');
  });

  it('goes on after connections that break, and leaves nothing half done', async () => {
    const { hub, target, source } = await prepared();
    hub.cuts.push(1000, 100);
    await source.fetchDataset(id, 'main', target, { configs: ['sst2'], splits: ['train'] });
    expect(hub.downloads()).toHaveLength(3);
    expect(hub.downloads()[1]).toMatch(/bytes=1000-/);
    const broken = await prepared();
    broken.hub.tamper = (_, content) => Buffer.alloc(content.length, 'x');
    await expect(broken.source.fetchDataset(id, 'main', broken.target)).rejects.toMatchObject({ code: 'FORMAT' });
    await expect(readdir(broken.target)).rejects.toThrow(/ENOENT/);
  });

  it('takes no names that lead elsewhere, and says what there is', async () => {
    const hostile = { '../evil.jsonl': rows, 'a/../../evil.csv': rows, '/etc/evil.csv': rows, 'linnet/x.csv': rows };
    const only = await prepared(hostile);
    await expect(only.source.fetchDataset(id, 'main', only.target)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const mixed = await prepared({ ...hostile, 'data/test.jsonl': rows });
    await mixed.source.fetchDataset(id, 'main', mixed.target);
    expect(await below(mixed.target)).toEqual(['data/test.jsonl', 'linnet-source.json']);
    const { target, source } = await prepared();
    await expect(source.fetchDataset(id, 'main', target, { configs: ['cola'] })).rejects.toThrow(
      /"cola"; it has .*sst2/,
    );
    await expect(source.fetchDataset(id, 'main', target, { splits: ['dev'] })).rejects.toThrow(/no split "dev"/);
    await expect(source.fetchDataset(id, 'main', target, { configs: ['../x'] })).rejects.toMatchObject({
      code: 'INPUT',
    });
    await expect(source.fetchDataset('owner/other', 'main', target)).rejects.toThrow(/has no data set owner\/other/);
  });
});
