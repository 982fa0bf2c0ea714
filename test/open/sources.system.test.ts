/** Where models come from: names, folders, the hub and URLs. */
import { createServer, type Server } from 'node:http';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorCode } from '../error-code.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { listWrittenFiles } from '../../src/files/written-folder.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { exportFolder } from '../../src/export/export-model.ts';
import { downloadExport, folderOfModel } from '../../src/open/source.ts';
import { open } from '../../src/open/index.ts';
import { modelHere, placeOfModel } from '../../src/open/model-names.ts';
import { planSource } from '../../src/studies/frame/study.ts';

const place = suiteFolder();
const at = (name: string): string => join(place, name);

beforeAll(async () => {
  await saveTinyModel(at('llama'));
  await exportFolder(at('llama'), at('exported'), { dtype: 'f32' });
});

describe('names of models', () => {
  it('are paths that are there, and models of the package', async () => {
    expect(await placeOfModel(at('llama'))).toEqual({ path: at('llama') });
    expect(await modelHere('linnet:tiny-llama')).toMatch(/assets.tiny-llama$/);
    expect((await open('linnet:tiny-llama')).family).toBe('llama');
    await expect(modelHere('linnet:tiny-lama')).rejects.toThrow(/linnet:tiny-llama/);
  });

  it('count from a folder where one is given, as in plans of studies', async () => {
    const { model } = planSource(at('plan.json'));
    expect(await model('llama')).toBe(at('llama'));
    expect(await model('linnet:tiny-llama')).toBe(await modelHere('linnet:tiny-llama'));
    await expect(model('lama')).rejects.toThrow(/did you mean .*llama\?/);
    await expect(model('someone/some-model')).rejects.toThrow('"linnet download someone/some-model" fetches it');
  });

  it('are not asked of the hub where something here has a name like them', async () => {
    await expect(placeOfModel(at('lama'))).rejects.toThrow(/did you mean .*llama\?/);
    await expect(placeOfModel('assets/tiny-lama')).rejects.toThrow('did you mean assets/tiny-llama?');
    await expect(placeOfModel('aset/tiny-llama')).rejects.toThrow('did you mean assets/tiny-llama?');
    await expect(placeOfModel('assets/something-else')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(placeOfModel('./someone/some-model')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(await placeOfModel('someone/some-model')).toEqual({ id: 'someone/some-model' });
    const needed = '"linnet download someone/some-model" fetches it';
    await expect(modelHere('someone/some-model')).rejects.toThrow(needed);
    await expect(modelHere('https://huggingface.co/someone/some-model')).rejects.toThrow(needed);
    await expect(modelHere('someone/some-model@v2:Q8_0')).rejects.toThrow('download someone/some-model@v2:Q8_0"');
    const page = 'https://huggingface.co/someone/some-model/tree/v2';
    await expect(modelHere(page)).rejects.toThrow('"linnet download someone/some-model@v2" fetches it');
  });
});

describe('where models come from', () => {
  let server: Server;
  let url = '';
  beforeAll(async () => {
    server = createServer((request, response) => {
      readFile(join(place, request.url ?? '')).then(
        (bytes) => response.end(bytes),
        () => response.writeHead(404).end(),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    url = typeof address === 'object' && address !== null ? `http://127.0.0.1:${address.port}/exported` : '';
  });
  afterAll(() => server.close());

  it('takes folders and file URLs', async () => {
    expect(await folderOfModel(at('llama'))).toBe(at('llama'));
    expect(await folderOfModel(new URL(`file://${at('llama')}`))).toBe(at('llama'));
  });

  it('asks the hub for owner/name and for addresses of its pages', async () => {
    const asked: unknown[] = [];
    const hub = {
      fetchFolder: async (id: string, revision?: string) => {
        asked.push([id, revision]);
        return { id, commit: '', files: {}, selection: { include: [], exclude: [] } };
      },
    };
    expect(await folderOfModel('someone/some-model', { hub })).toMatch(/someone--some-model$/);
    await folderOfModel('https://huggingface.co/someone/some-model', { hub, revision: 'v1' });
    await folderOfModel('https://huggingface.co/someone/some-model/tree/v2', { hub });
    await folderOfModel(new URL('https://hf.co/someone/some-model/blob/v3/Q8_0/model.gguf?download=true'), { hub });
    await folderOfModel('someone/some-model@refs/pr/4', { hub });
    await folderOfModel('someone/some-model@v5:Q4_K_M', { hub });
    expect(asked).toEqual([
      ['someone/some-model', undefined],
      ['someone/some-model', 'v1'],
      ...['v2', 'v3', 'refs/pr/4', 'v5'].map((revision) => ['someone/some-model', revision]),
    ]);
  });

  it('downloads an exported folder once, and notices a new one', async () => {
    const folder = at('kept');
    const files: string[] = [];
    const options = { folder, onProgress: ({ file }: { file: string }) => files.push(file) };
    expect(await downloadExport(url, options)).toBe(folder);
    expect(files).toContain('model.onnx');
    await using model = await open(folder);
    expect(model.kind).toBe('causal');
    files.length = 0;
    await downloadExport(`${url}/`, options);
    expect(files).toEqual([]);
    const text = await readFile(join(folder, 'linnet.json'), 'utf8');
    await writeFile(join(folder, 'linnet.json'), text.replace('"linnet-export"', '"something-else"'));
    await listWrittenFiles(folder, ['linnet.json']);
    await downloadExport(url, options);
    expect(files).toContain('model.onnx');
  });

  it.each([
    ['runs/nothing/here', 'NOT_FOUND'],
    ['/nowhere', 'NOT_FOUND'],
    ['', 'INPUT'],
    [new URL('data:,x'), 'INPUT'],
  ])('refuses %s', async (given, code) => {
    expect(await errorCode(() => open(given))).toBe(code);
  });

  it('refuses what a server does not have, and a checkpoint without checksums', async () => {
    expect(await errorCode(() => downloadExport(`${url}-gone`, { folder: at('gone') }))).toBe('NOT_FOUND');
    expect(await errorCode(() => downloadExport(url.replace('exported', 'llama'), { folder: at('gone') }))).toBe(
      'NOT_FOUND',
    );
  });
});
