/** Results in a bucket of a server that checks signatures, and on servers that fail. */
import { createServer, type RequestListener } from 'node:http';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { type ResultStore, resultStore } from '../../src/jobs/result-store.ts';
import { openBucket } from '../../src/jobs/object-store.ts';
import { freePort } from '../serving/local-process.ts';
import { needsS3, noS3, type RunningS3, startS3 } from './s3-server.ts';

const job = { kind: 'sum', data: [1, 2], title: 'one and two' };
const keys = { AWS_ACCESS_KEY_ID: 'someone', AWS_SECRET_ACCESS_KEY: 'secret' };

describe.skipIf(noS3)(`a bucket${needsS3}`, () => {
  let s3: RunningS3;
  beforeAll(async () => {
    s3 = await startS3();
  });
  afterAll(() => s3.stop());
  const open = async (prefix: string, others: Record<string, string> = {}): Promise<ResultStore> =>
    resultStore(await openBucket(`s3://${s3.bucket}${prefix}`, { ...s3.environment, ...others }));

  it.each(['', '/one/', '/one/two.3'])('keeps results under the prefix "%s"', async (prefix) => {
    const store = await open(prefix);
    expect(await store.find(job)).toBeUndefined();
    await store.keep(job, { sum: 3, text: 'ä'.repeat(100_000) });
    expect(await (await open(prefix)).find(job)).toEqual({ sum: 3, text: 'ä'.repeat(100_000) });
    await store.keep(job, 4);
    expect(await store.find(job)).toBe(4);
  });

  it('says what the server refuses', async () => {
    const stranger = await open('', { AWS_SECRET_ACCESS_KEY: 'guessed' });
    await expect(stranger.find(job)).rejects.toThrow(/403 SignatureDoesNotMatch/);
    await expect(stranger.keep(job, 1)).rejects.toThrow(/cannot write .* 403/);
    const missing = resultStore(await openBucket('s3://no-such-bucket/x', s3.environment));
    await expect(missing.find(job)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe('a server', () => {
  async function opened(answer: RequestListener) {
    const port = await freePort();
    const server = createServer(answer);
    await new Promise<void>((resolve) => {
      server.listen(port, '127.0.0.1', resolve);
    });
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    return openBucket('s3://bucket/x', { ...keys, AWS_ENDPOINT_URL: `http://127.0.0.1:${port}` });
  }

  it('that fails twice is asked again', async () => {
    let requests = 0;
    const objects = await opened((request, response) => {
      requests++;
      if (requests === 1) request.socket.destroy();
      else response.writeHead(requests === 2 ? 503 : 200).end('content');
    });
    expect(String(await objects.read('name', 100))).toBe('content');
    expect(requests).toBe(3);
  }, 20_000);

  it('that goes on failing is given up', async () => {
    const failing = await opened((_, response) => response.writeHead(500).end());
    const silent = await opened(({ socket }) => socket.destroy());
    await Promise.all([
      expect(failing.read('name', 100)).rejects.toThrow(/the server answered 500/),
      expect(silent.read('name', 100)).rejects.toMatchObject({ code: 'RUNTIME' }),
    ]);
  }, 30_000);

  it('reads no object that is larger than it may be', async () => {
    const objects = await opened((_, response) => response.end('x'.repeat(2000)));
    expect(await objects.read('x', 2000)).toHaveLength(2000);
    await expect(objects.read('x', 1999)).rejects.toMatchObject({ code: 'FORMAT' });
  });
});
