/** What killed writers leave: the next run of the same command removes it and says so, `linnet clean` does so anywhere. */
import { spawnSync } from 'node:child_process';
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { temporarySibling } from '../../src/files/temporary-files.ts';
import { scratchFolder } from '../scratch-folder.ts';
import { linnet, runJson } from './captured-cli.ts';
import { writeBook } from './text-data.ts';

/** A temporary name of a process that has ended, for a place in `folder`. */
function nameOfTheDead(target: string): string {
  const source = pathToFileURL(join(import.meta.dirname, '../../src/files/temporary-files.ts')).href;
  const program = `import(${JSON.stringify(source)}).then((m) => console.log(m.temporarySibling(${JSON.stringify(target)})))`;
  const { stdout } = spawnSync(process.execPath, ['--import', 'tsx', '-e', program], { encoding: 'utf8' });
  expect(dirname(stdout.trim())).toBe(dirname(target));
  return stdout.trim();
}

/** A folder with what a dead and a living process write, and with names that only look alike. */
async function leftovers(): Promise<{ folder: string; dead: string[]; kept: string[] }> {
  const folder = await scratchFolder();
  const runs = join(folder, 'runs');
  await mkdir(join(runs, 'model.run/snapshots'), { recursive: true });
  const dead = [nameOfTheDead(join(runs, 'model')), nameOfTheDead(join(runs, 'model.run/snapshots/1.safetensors'))];
  await mkdir(join(dead[0], 'inner'), { recursive: true });
  await writeFile(join(dead[0], 'inner/a'), 'x'.repeat(1000));
  await writeFile(dead[1], 'x'.repeat(24));
  const kept = [
    temporarySibling(join(runs, 'model')),
    join(runs, '.notes.0123456789ab.tmp'),
    // A process id of another host says nothing here.
    join(runs, basename(dead[0]).replace(/\.[0-9a-f]{8}-/, '.00000000-')),
  ];
  for (const path of kept) await writeFile(path, 'mine');
  const link = join(runs, basename(dead[0]).replace(/[0-9a-f]{12}\.tmp$/, 'aaaaaaaaaaaa.tmp'));
  await symlink(join(runs, 'model.run'), link); // a link is not ours, whatever it is called
  return { folder: runs, dead, kept: [...kept, link] };
}

/** Everything in a folder and below; links are not followed. */
async function listing(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const below = entries.map(({ name }) => join(folder, name));
  const inner = entries.filter((entry) => entry.isDirectory()).map(({ name }) => listing(join(folder, name)));
  return [...below, ...(await Promise.all(inner)).flat()].sort();
}

describe('linnet clean', () => {
  it('lists what killed commands left and removes nothing', async () => {
    const { folder, dead } = await leftovers();
    const before = await listing(folder);
    const { stdout, exitCode } = await linnet('clean', folder);
    expect(exitCode).toBe(0);
    for (const path of dead) expect(stdout).toContain(path);
    expect(stdout).toMatch(/2 files of .* can be removed: add --yes/);
    expect(await listing(folder)).toEqual(before);
    expect(await runJson('clean', folder)).toMatchObject({ bytes: 1024, removed: 0 });
  });

  it('removes, when told to, what dead processes left and nothing else', async () => {
    const { folder, dead, kept } = await leftovers();
    expect(await runJson('clean', folder, '--yes')).toMatchObject({ bytes: 1024, removed: 2 });
    const left = await listing(folder);
    expect(left).toEqual([...kept, join(folder, 'model.run'), join(folder, 'model.run/snapshots')].sort());
    expect(left).not.toEqual(expect.arrayContaining(dead));
    expect(await runJson('clean', folder)).toMatchObject({ bytes: 0 });
  });

  it('is told about a folder that is not there', async () => {
    const { exitCode, stderr } = await linnet('clean', join(await scratchFolder(), 'none'));
    expect(exitCode).toBe(3);
    expect(stderr).toContain('cannot read');
  });
});

it('the next run of a command removes and names what the one before left', async () => {
  const { folder, dead, kept } = await leftovers();
  await writeBook(join(folder, 'book.txt'));
  const words = ['tokenizer', 'train', '--data', join(folder, 'book.txt'), '--vocabulary', '270'];
  const { exitCode, stderr } = await linnet(...words, '--out', join(folder, 'model'));
  expect(exitCode, stderr).toBe(0);
  for (const path of dead) expect(stderr).toContain(`removed ${path} (`);
  const left = await listing(folder);
  expect(left).not.toEqual(expect.arrayContaining([dead[0]]));
  expect(left).not.toEqual(expect.arrayContaining([dead[1]]));
  expect(left).toEqual(expect.arrayContaining(kept));
});
