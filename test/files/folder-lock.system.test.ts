/** One writer per folder: held by the living, taken over from the dead. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { scratchFolder } from '../scratch-folder.ts';
import { lockFolder } from '../../src/files/folder-lock.ts';

describe('a locked folder', () => {
  it('is refused to others until it is given back, and an empty one is gone then', async () => {
    const folder = join(await scratchFolder(), 'deep', 'run');
    {
      await using lock = await lockFolder(folder);
      expect(lock.folder).toBe(folder);
      await expect(lockFolder(folder)).rejects.toThrow(`process ${process.pid} on ${hostname()}`);
      await expect(lockFolder(folder)).rejects.toMatchObject({ code: 'PATH' });
    }
    expect(existsSync(folder)).toBe(false);
    await using _again = await lockFolder(folder);
    await writeFile(join(folder, 'content'), '');
  });

  it('keeps what is in it', async () => {
    const folder = await scratchFolder();
    await writeFile(join(folder, 'content'), 'x');
    await (await lockFolder(folder))[Symbol.asyncDispose]();
    expect(await readdir(folder)).toEqual(['content']);
  });

  it('is taken over from a process that is gone, not from another host', async () => {
    const folder = await scratchFolder();
    const child = spawn(process.execPath, ['-e', '']);
    const pid = child.pid ?? 0;
    await new Promise((resolve) => child.once('exit', resolve));
    const lock = join(folder, 'lock.json');
    const left = { pid, host: hostname(), begun: null, nonce: 'a' };
    await writeFile(lock, JSON.stringify(left));
    await (await lockFolder(folder))[Symbol.asyncDispose]();
    await writeFile(lock, JSON.stringify({ ...left, host: `not-${hostname()}` }));
    await expect(lockFolder(folder)).rejects.toThrow(/in use by process .* delete/);
    await writeFile(lock, 'torn');
    await expect(lockFolder(folder)).rejects.toThrow(/not a lock/);
    expect(await readFile(lock, 'utf8')).toBe('torn');
  });

  it.skipIf(process.platform !== 'linux')('is taken over where the process id is in use again', async () => {
    const folder = await scratchFolder();
    const holder = { pid: process.pid, host: hostname(), begun: '00000000:1', nonce: 'a' };
    await writeFile(join(folder, 'lock.json'), JSON.stringify(holder));
    await using lock = await lockFolder(folder);
    expect(lock.folder).toBe(folder);
  });

  it('is had by one of many that ask at once', async () => {
    const folder = await scratchFolder();
    const asked = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(folder)));
    expect(asked.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });
});
