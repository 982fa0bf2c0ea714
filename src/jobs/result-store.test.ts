import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { scratchFolder } from '../../test/scratch-folder.ts';
import { isInShare, openResults, type ResultStore } from './result-store.ts';
import { openBucket } from './object-store.ts';

const job = { kind: 'sum', data: [1, 2], title: 'one and two' };
const other = { ...job, data: [1, 3] };

async function filled(): Promise<{ store: ResultStore; file: string }> {
  const folder = join(await scratchFolder(), 'results');
  const store = await openResults(folder);
  await store.keep(job, { sum: 3, parts: [1, 2] });
  const [name] = await readdir(folder);
  return { store, file: join(folder, name) };
}

describe('openResults', () => {
  it('keeps results by job, and replaces them', async () => {
    const { store } = await filled();
    expect(await store.find(job)).toEqual({ sum: 3, parts: [1, 2] });
    expect(await store.find({ ...job, title: 'another title' })).toBeDefined();
    expect(await store.find(other)).toBeUndefined();
    await store.keep(job, { sum: 4 });
    expect(await store.find(job)).toEqual({ sum: 4 });
  });

  it.each<[string, (text: string) => string | Buffer]>([
    ['is empty', () => ''],
    ['is cut', (text) => text.slice(0, -5)],
    ['has another result under the same hash', (text) => text.replace('"sum":3', '"sum":4')],
    ['has no first line', (text) => text.split('\n')[1]],
    ['is of another version', (text) => text.replace('"version":1', '"version":2')],
    ['is of another job', (text) => text.replace(/"job":"../, '"job":"00')],
    ['has bytes that are no text', () => Buffer.from([0xff, 0x0a, 0xff])],
    ['has another body', (text) => hashed(text, '{"other":1}')],
    ['is nested deeply', (text) => hashed(text, `{"result":${'['.repeat(100)}${']'.repeat(100)}}`)],
  ])('refuses a file that %s', async (_, damage) => {
    const { store, file } = await filled();
    await writeFile(file, damage(await readFile(file, 'utf8')));
    await expect(store.find(job)).rejects.toMatchObject({ code: 'FORMAT' });
  });

  it.each(['s3://', 's3://ab', 's3://Name', 's3://name/../other', 's3://name//x', 's3://name/a b', 'S3:name'])(
    'refuses %s as a bucket',
    async (place) => {
      await expect(openResults(place)).rejects.toMatchObject({ code: 'INPUT' });
    },
  );

  it('needs keys for a bucket', async () => {
    await expect(openBucket('s3://name/prefix', {})).rejects.toThrow(/AWS_ACCESS_KEY_ID/);
  });

  it.each([
    ['AWS_ENDPOINT_URL', 'hidden'],
    ['AWS_ENDPOINT_URL', 'ftp://hidden'],
    ['AWS_ENDPOINT_URL', 'http://name:hidden@127.0.0.1:9000'],
    ['AWS_ENDPOINT_URL', 'http://127.0.0.1:9000/?key=hidden'],
    ['AWS_ACCESS_KEY_ID', 'hidden\n'],
    ['AWS_SESSION_TOKEN', 'hid\nden'],
  ])('refuses a variable %s that is %j, and does not show it', async (name, value) => {
    const keys = { AWS_ACCESS_KEY_ID: 'name', AWS_SECRET_ACCESS_KEY: 'secret', [name]: value };
    const error: unknown = await openBucket('s3://name/prefix', keys).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'CONFIG', message: expect.stringContaining(name) as string });
    expect(String(error)).not.toMatch(/hid/);
  });

  it('takes an empty variable for one that is not set', async () => {
    const keys = { AWS_ACCESS_KEY_ID: 'name', AWS_SECRET_ACCESS_KEY: 'secret', AWS_ENDPOINT_URL: '', AWS_REGION: '' };
    expect(await openBucket('s3://name/prefix', keys)).toMatchObject({ place: 's3://name/prefix' });
  });
});

/** The first line of a file with the hash of another body, and that body. */
function hashed(text: string, body: string): string {
  const sha256 = createHash('sha256').update(body).digest('hex');
  return `${text.split('\n')[0].replace(/"sha256":"\w+"/, `"sha256":"${sha256}"`)}\n${body}`;
}

it('divides positions among shares, each to one', () => {
  const shares = [0, 1, 2].map((index) => ({ index, count: 3 }));
  for (let position = 0; position < 8; position++) {
    expect(shares.filter((share) => isInShare(position, share))).toHaveLength(1);
    expect(isInShare(position, undefined)).toBe(true);
  }
});
