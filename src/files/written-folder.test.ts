import { createHash } from 'node:crypto';
import { link, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { scratchFolder } from '../../test/scratch-folder.ts';
import {
  listWrittenFiles,
  requireFree,
  requireReplaceable,
  WRITTEN_FILES,
  writeFolderAtomic,
} from './written-folder.ts';

const write = async (dir: string): Promise<void> => {
  await mkdir(join(dir, 'inner'));
  await writeFile(join(dir, 'config.json'), '{}');
  await writeFile(join(dir, 'inner/weights'), 'w');
};

/** Refused before anything is built and, as far as the test can see, nothing was touched. */
async function expectRefusal(target: string, reason: RegExp): Promise<void> {
  let built = false;
  const refused = writeFolderAtomic(
    target,
    async () => {
      built = true;
    },
    { replace: true },
  );
  await expect(refused).rejects.toThrow(reason);
  await expect(requireReplaceable(target)).rejects.toThrow(expect.objectContaining({ code: 'PATH' }));
  expect(built).toBe(false);
}

afterEach(() => vi.restoreAllMocks());

it('names the folder asked for where building it fails', async () => {
  const parent = await scratchFolder();
  const target = join(parent, 'model');
  const failed = writeFolderAtomic(target, async (folder) => {
    await readFile(join(folder, 'missing'));
  });
  await expect(failed).rejects.toThrow(join(target, 'missing'));
  expect(await readdir(parent)).toEqual([]);
});

describe('replacing', () => {
  it('is for folders that Linnet wrote, also where files of them are gone', async () => {
    const target = join(await scratchFolder(), 'model');
    await requireReplaceable(target);
    await writeFolderAtomic(target, write);
    const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
    expect(JSON.parse(await readFile(join(target, WRITTEN_FILES), 'utf8'))).toEqual({
      format: 'linnet-files',
      files: {
        'config.json': { bytes: 2, sha256: sha256('{}') },
        'inner/weights': { bytes: 1, sha256: sha256('w') },
      },
    });
    await requireReplaceable(target);
    await writeFolderAtomic(target, (dir) => writeFile(join(dir, 'other.json'), '{}'), { replace: true });
    expect((await readdir(target)).sort()).toEqual([WRITTEN_FILES, 'other.json']);
  });

  it('refuses files and links', async () => {
    const folder = await scratchFolder();
    await writeFile(join(folder, 'notes.txt'), 'thesis');
    await expectRefusal(join(folder, 'notes.txt'), /it is a file/);
    expect(await readFile(join(folder, 'notes.txt'), 'utf8')).toBe('thesis');
    await writeFolderAtomic(join(folder, 'model'), write);
    await symlink(join(folder, 'model'), join(folder, 'link'));
    await expectRefusal(join(folder, 'link'), /it is a link/);
  });

  it('is no matter of a path below a file', async () => {
    const file = join(await scratchFolder(), 'notes.txt');
    await writeFile(file, 'thesis');
    const refused = writeFolderAtomic(join(file, 'model'), write);
    await expect(refused).rejects.toThrow(expect.objectContaining({ code: 'PATH' }));
    await expect(refused).rejects.toThrow(`cannot create ${file}`);
  });

  it('refuses a folder of others and says what would be lost', async () => {
    const project = await scratchFolder();
    await mkdir(join(project, '.git'));
    await writeFile(join(project, '.git/HEAD'), 'ref');
    await writeFile(join(project, 'package.json'), '{}');
    await expectRefusal(project, /did not write it.*"\.git\/HEAD", "package\.json" would be lost/);
    expect((await readdir(project)).sort()).toEqual(['.git', 'package.json']);
  });

  it.each([
    ['not JSON'],
    ['[]'],
    ['{"files":"all"}'],
    ['{"format":"linnet-files","files":["config.json"]}'],
    [`{"files":{},"deep":${'['.repeat(10_000)}${']'.repeat(10_000)}}`],
  ])('refuses a folder whose list is %.60s', async (list) => {
    const folder = await scratchFolder();
    await writeFile(join(folder, WRITTEN_FILES), list);
    await writeFile(join(folder, 'config.json'), '{}');
    await expectRefusal(folder, /\.linnet-files\.json.* is unreadable, and "config\.json" would be lost/);
  });

  it('puts a new list in the place of the old one, whole', async () => {
    const target = join(await scratchFolder(), 'model');
    await writeFolderAtomic(target, write);
    await link(join(target, WRITTEN_FILES), join(target, '../before'));
    const before = await readFile(join(target, '../before'), 'utf8');
    await writeFile(join(target, 'config.json'), '{"a":1}');
    await listWrittenFiles(target, ['config.json']);
    expect(await readFile(join(target, '../before'), 'utf8')).toBe(before);
    expect((await readdir(target)).sort()).toEqual([WRITTEN_FILES, 'config.json', 'inner']);
    await requireReplaceable(target);
  });

  it.each(['notes.txt', 'inner/notes.txt', 'inner/deeper/notes.txt'])(
    'refuses a folder that has %s besides',
    async (name) => {
      const target = join(await scratchFolder(), 'model');
      await writeFolderAtomic(target, write);
      await mkdir(join(target, name, '..'), { recursive: true });
      await writeFile(join(target, name), 'thesis');
      await expectRefusal(target, new RegExp(`did not write would be lost.*"${name}"`));
      expect(await readFile(join(target, name), 'utf8')).toBe('thesis');
    },
  );

  it.each([
    ['edited', 'v'],
    ['made longer', 'w and a thesis'],
  ])('refuses a folder with a file that was %s', async (_, content) => {
    const target = join(await scratchFolder(), 'model');
    await writeFolderAtomic(target, write);
    await writeFile(join(target, 'inner/weights'), content);
    await expectRefusal(target, /files changed since.*"inner\/weights"/);
    expect(await readFile(join(target, 'inner/weights'), 'utf8')).toBe(content);
    await listWrittenFiles(target, ['inner/weights']);
    await requireReplaceable(target);
  });

  it('keeps what was put into the folder while the new one was built', async () => {
    const target = join(await scratchFolder(), 'model');
    await writeFolderAtomic(target, write);
    const late = writeFolderAtomic(target, () => writeFile(join(target, 'notes.txt'), 'thesis'), { replace: true });
    await expect(late).rejects.toThrow(/did not write would be lost.*notes\.txt/);
    expect(await readFile(join(target, 'notes.txt'), 'utf8')).toBe('thesis');
    expect(await readdir(join(target, '..'))).toEqual(['model']);
  });

  it('refuses the current folder, those above it and those above the home folder, whoever wrote them', async () => {
    const target = join(await scratchFolder(), 'model');
    await writeFolderAtomic(target, write);
    vi.spyOn(process, 'cwd').mockReturnValue(target);
    await expectRefusal(target, /the current folder is it/);
    vi.spyOn(process, 'cwd').mockReturnValue(join(target, 'inner'));
    await expectRefusal(target, /the current folder lies in it/);
    vi.restoreAllMocks();
    await expectRefusal('/', /lies in it/);
    await expectRefusal(resolve(homedir()), /home folder|current folder/);
  });
});

it.each(['out', 'out/run', './out/'])('a run in %s, inside its result, is refused before the work', async (run) => {
  await expect(requireFree('out', false, run)).rejects.toThrow('inside the result');
  await requireFree('out', false, 'out.run');
});
