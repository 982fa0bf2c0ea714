import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it, vi } from 'vitest';
import { scratchFolder } from '../scratch-folder.ts';
import { Random } from '../../src/random.ts';
import { makeFolder, makeTemporaryFolder, writeFileAtomic } from '../../src/files/atomic.ts';
import { removeAbandoned } from '../../src/files/temporary-files.ts';
import { previousFolder, recoverFolder, WRITTEN_FILES, writeFolderAtomic } from '../../src/files/written-folder.ts';

const fill = (text: string) => async (dir: string) => {
  await mkdir(join(dir, 'inner'));
  await writeFile(join(dir, 'a.txt'), text);
  await writeFile(join(dir, 'inner/b.txt'), text);
};

it('names TMPDIR where temporary files have no folder', async () => {
  vi.stubEnv('TMPDIR', join(await scratchFolder(), 'missing'));
  await expect(makeTemporaryFolder('test')).rejects.toThrow(/missing \(TMPDIR can name another folder/);
  vi.unstubAllEnvs();
});

it('removes temporary folders when the process ends early', async () => {
  const source = JSON.stringify(fileURLToPath(new URL('../../src/files/atomic.ts', import.meta.url)));
  const program = `const { makeTemporaryFolder } = await import(${source});
    console.log((await makeTemporaryFolder('test')).path); setTimeout(() => process.exit(130), 10);`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program]);
  const printed: string[] = [];
  child.stdout.setEncoding('utf8').on('data', (text: string) => printed.push(text));
  expect(await new Promise((resolve) => child.on('close', resolve))).toBe(130);
  expect(printed.join('')).toContain('linnet-test-');
  expect(existsSync(printed.join('').trim())).toBe(false);
});

describe('makeFolder', () => {
  it('makes what is missing, also beside others that make it', async () => {
    const folder = join(await scratchFolder(), 'a/b/c');
    expect(await Promise.all([1, 2, 3].map(() => makeFolder(folder)))).toContain(true);
    expect(await makeFolder(folder)).toBe(false);
  });

  it.runIf(process.platform === 'linux')('refuses at once where no folder can be made', async () => {
    await expect(makeFolder('/proc/linnet/models')).rejects.toThrow(/^cannot create \/proc\/linnet: ENOENT/);
  });
});

describe('writeFileAtomic', () => {
  it('creates and replaces a file and leaves no other', async () => {
    const folder = await scratchFolder();
    const path = join(folder, 'file.txt');
    await writeFileAtomic(path, 'one');
    await writeFileAtomic(path, Buffer.from('two'));
    expect(await readFile(path, 'utf8')).toBe('two');
    await writeFileAtomic(path, async (handle) => {
      await handle.write('th');
      await handle.write('ree');
    });
    expect(await readFile(path, 'utf8')).toBe('three');
    expect(await readdir(folder)).toEqual(['file.txt']);
  });

  it('keeps the old file when the writer fails half-way', async () => {
    const folder = await scratchFolder();
    const path = join(folder, 'file.txt');
    await writeFile(path, 'old');
    const failing = writeFileAtomic(path, async (handle) => {
      await handle.write('new');
      throw new RangeError('half-way');
    });
    await expect(failing).rejects.toThrow('half-way');
    expect(await readFile(path, 'utf8')).toBe('old');
    expect(await readdir(folder)).toEqual(['file.txt']);
  });

  it('says which place cannot be written', async () => {
    const folder = await scratchFolder();
    await expect(writeFileAtomic(join(folder, 'no/file'), 'x')).rejects.toThrow(
      expect.objectContaining({
        code: 'NOT_FOUND',
        message: expect.stringMatching(/no folder .*no; make it first$/) as unknown,
      }),
    );
    await mkdir(join(folder, 'taken/inner'), { recursive: true });
    await expect(writeFileAtomic(join(folder, 'taken'), 'x')).rejects.toThrow(
      expect.objectContaining({ code: 'PATH' }),
    );
    expect(await readdir(folder)).toEqual(['taken']);
  });

  it('replaces a symbolic link itself, not the file it leads to', async () => {
    const folder = await scratchFolder();
    await writeFile(join(folder, 'private'), 'secret');
    await symlink(join(folder, 'private'), join(folder, 'link'));
    await writeFileAtomic(join(folder, 'link'), 'x');
    expect(await readFile(join(folder, 'private'), 'utf8')).toBe('secret');
    expect(await readFile(join(folder, 'link'), 'utf8')).toBe('x');
  });
});

describe('writeFolderAtomic', () => {
  it('creates a folder, its parents too, and refuses to overwrite it', async () => {
    const folder = await scratchFolder();
    const target = join(folder, 'runs/model');
    await writeFolderAtomic(target, fill('one'));
    expect(await readFile(join(target, 'inner/b.txt'), 'utf8')).toBe('one');
    let built = false;
    const again = writeFolderAtomic(target, async () => {
      built = true;
    });
    await expect(again).rejects.toThrow(/already exists/);
    expect(built).toBe(false);
    expect(await readFile(join(target, 'a.txt'), 'utf8')).toBe('one');
    expect(await readdir(join(folder, 'runs'))).toEqual(['model']);
  });

  it('refuses a target that appears while it builds', async () => {
    const folder = await scratchFolder();
    const target = join(folder, 'model');
    const late = writeFolderAtomic(target, async (dir) => {
      await fill('late')(dir);
      await mkdir(join(target, 'sub'), { recursive: true });
    });
    await expect(late).rejects.toThrow(/already exists/);
    expect(await readdir(folder)).toEqual(['model']);
  });

  it('replaces on request', async () => {
    const folder = await scratchFolder();
    const target = join(folder, 'model');
    await writeFolderAtomic(target, fill('one'));
    await writeFolderAtomic(target, (dir) => writeFile(join(dir, 'only.txt'), 'two'), { replace: true });
    expect((await readdir(target)).sort()).toEqual([WRITTEN_FILES, 'only.txt']);
    expect(await readdir(folder)).toEqual(['model']);
  });

  it('cleans up after a failed build and passes the error on', async () => {
    const folder = await scratchFolder();
    const target = join(folder, 'model');
    await writeFolderAtomic(target, fill('one'));
    const failing = writeFolderAtomic(
      target,
      async (dir) => {
        await fill('two')(dir);
        throw new RangeError('disk of straw');
      },
      { replace: true },
    );
    await expect(failing).rejects.toThrow('disk of straw');
    expect(await readdir(folder)).toEqual(['model']);
    expect(await readFile(join(target, 'a.txt'), 'utf8')).toBe('one');
  });

  it('brings back the old folder of a replacement that died between its two renames', async () => {
    const folder = await scratchFolder();
    const target = join(folder, 'model');
    await writeFolderAtomic(target, fill('old'));
    await rename(target, previousFolder(target));
    await recoverFolder(target);
    expect(await readFile(join(target, 'a.txt'), 'utf8')).toBe('old');
    expect(await readdir(folder)).toEqual(['model']);
  });

  it('survives kill -9 at any moment: the folder is always one complete version', async () => {
    const folder = await scratchFolder();
    const modules = [
      '../errors.ts',
      'digest.ts',
      'json-object.ts',
      'name-list.ts',
      'regular-file.ts',
      'remove.ts',
      'temporary-files.ts',
      'written-folder.ts',
      'atomic.ts',
    ];
    const script = await transpiled(folder, modules);
    const target = join(folder, 'out/model');
    const random = new Random(5);
    let newest = -1;
    for (let round = 0; round < 8; round++) {
      const child = spawn(process.execPath, [script, target, String(newest + 1)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await new Promise((started, failed) => {
        child.stdout.once('data', started);
        child.once('exit', () => failed(new Error('the program that replaces folders ended by itself')));
      });
      await new Promise((later) => setTimeout(later, random.integer(30)));
      child.kill('SIGKILL');
      await new Promise((closed) => child.once('close', closed));
      await recoverFolder(target);
      await removeAbandoned(target);
      expect(await readdir(join(folder, 'out'))).toEqual(['model']);
      const versions = await Promise.all(
        ['a.txt', 'b.txt', 'c.txt'].map((name) => readFile(join(target, name), 'utf8')),
      );
      expect(new Set(versions.map((text) => text.length)).size).toBe(1);
      expect(new Set(versions).size).toBe(1);
      const version = Number.parseInt(versions[0], 10);
      expect(version).toBeGreaterThan(newest);
      newest = version;
    }
  });
});

/** Compiles modules to a scratch folder with a program that replaces a folder forever; returns the program's path. */
async function transpiled(folder: string, modules: string[]): Promise<string> {
  await mkdir(join(folder, 'js/files'), { recursive: true });
  await writeFile(join(folder, 'js/package.json'), '{"type":"module"}');
  for (const name of modules) {
    const source = await readFile(fileURLToPath(new URL(`../../src/files/${name}`, import.meta.url)), 'utf8');
    const { outputText } = ts.transpileModule(source, {
      compilerOptions: {
        module: ts.ModuleKind.ESNext,
        target: ts.ScriptTarget.ES2022,
        rewriteRelativeImportExtensions: true,
      },
    });
    await writeFile(join(folder, 'js/files', name.replace(/\.ts$/, '.js')), outputText);
  }
  const script = join(folder, 'js/files/replace-forever.js');
  await writeFile(
    script,
    `import { writeFileSync } from 'node:fs';
     import { writeFolderAtomic } from './written-folder.js';
     const [, , target, first] = process.argv;
     for (let version = Number(first); ; version++) {
       await writeFolderAtomic(target, async (dir) => {
         for (const name of ['a', 'b', 'c']) writeFileSync(dir + '/' + name + '.txt', (version + ' ').repeat(2000));
       }, { replace: true });
       console.log(version);
     }`,
  );
  return script;
}
