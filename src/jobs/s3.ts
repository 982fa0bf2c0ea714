/** Objects of a bucket that speaks S3, Amazon's or another's. Requests are signed by aws4fetch. */
import { createHash } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import type { AwsClient } from 'aws4fetch';
import { LinnetError } from '../errors.ts';
import { loadOptional } from '../redis/client.ts';
import type { ObjectStore } from './object-store.ts';

const attempts = 4;
/** Milliseconds after which a request has failed. */
const patience = 120_000;
const mostErrorBytes = 1 << 16;

const bucketUrl = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:\/[\w.-]{1,128}){0,8})\/?$/;

/** Whether a place names a bucket and not a folder. */
export function isBucketUrl(place: string): boolean {
  return /^s3:/i.test(place);
}

/**
 * A bucket, or the objects under a prefix of it. The environment says who asks and where: `AWS_ACCESS_KEY_ID`,
 * `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION` (default us-east-1), `AWS_ENDPOINT_URL` (default Amazon's).
 *
 * @param url `s3://bucket/prefix`
 * @throws LinnetError `INPUT` for another address, `CONFIG` without keys, `NOT_FOUND` without the package aws4fetch
 */
export async function openBucket(url: string, environment = process.env): Promise<ObjectStore> {
  const [, bucket, prefix] = bucketUrl.exec(url) ?? [];
  if (bucket === undefined || /\/\.{1,2}(\/|$)/.test(prefix)) {
    throw new LinnetError('INPUT', `a bucket looks like s3://name/prefix; the given one is ${JSON.stringify(url)}`);
  }
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = environment;
  if (!accessKeyId || !secretAccessKey) {
    throw new LinnetError('CONFIG', `${url} needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment`);
  }
  const region = environment.AWS_REGION ?? environment.AWS_DEFAULT_REGION ?? 'us-east-1';
  const endpoint =
    environment.AWS_ENDPOINT_URL_S3 ?? environment.AWS_ENDPOINT_URL ?? `https://s3.${region}.amazonaws.com`;
  const { AwsClient } = await loadOptional(() => import('aws4fetch'), 'aws4fetch', url);
  const client = new AwsClient({
    ...{ accessKeyId, secretAccessKey, sessionToken: environment.AWS_SESSION_TOKEN },
    ...{ service: 's3', region, retries: 0 },
  });
  const addressOf = (name: string): string => `${endpoint.replace(/\/+$/, '')}/${bucket}${prefix}/${name}`;
  return {
    place: url,
    async read(name, most) {
      const { status, body } = await request(client, addressOf(name), {}, most);
      if (status === 200) return body;
      // A bucket that is missing has the same status, and no result will ever be in it.
      if (status === 404 && !body.includes('NoSuchBucket')) return undefined;
      throw refused('read', `${url}/${name}`, status, body);
    },
    async write(name, content) {
      const headers = { 'x-amz-content-sha256': createHash('sha256').update(content).digest('hex') };
      const { status, body } = await request(client, addressOf(name), { method: 'PUT', body: content, headers }, 0);
      if (status !== 200) throw refused('write', `${url}/${name}`, status, body);
    },
  };
}

/** Sends a request, again after a moment where the server or the network fails. @param most bytes of a successful answer */
async function request(
  client: AwsClient,
  address: string,
  init: RequestInit,
  most: number,
): Promise<{ readonly status: number; readonly body: Buffer }> {
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await client.fetch(address, { ...init, signal: AbortSignal.timeout(patience) });
      const { status, ok } = response;
      const body = await boundedBody(response, ok ? most : mostErrorBytes, address);
      if ((status < 500 && status !== 429) || attempt === attempts) return { status, body };
    } catch (error) {
      if (error instanceof LinnetError) throw error;
      if (attempt === attempts) {
        const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
        const why = cause instanceof Error ? cause.message : String(cause);
        throw new LinnetError('RUNTIME', `${new URL(address).origin} gives no answer: ${why}`, { cause: error });
      }
    }
    await setTimeout(250 * 4 ** (attempt - 1) * (0.5 + Math.random()));
  }
}

async function boundedBody({ body }: Response, most: number, address: string): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  const stream: AsyncIterable<Uint8Array> | undefined = body ?? undefined;
  for await (const piece of stream ?? []) {
    bytes += piece.length;
    if (bytes > most) throw new LinnetError('FORMAT', `${address} has more than ${most} bytes; it is not read`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces, bytes);
}

function refused(action: string, place: string, status: number, body: Buffer): LinnetError {
  const [, code] = /<Code>(\w{1,64})<\/Code>/.exec(body.toString('latin1')) ?? [];
  const code404 = status === 404 ? 'NOT_FOUND' : 'PATH';
  return new LinnetError(code404, `cannot ${action} ${place}: the server says ${status}${code ? ` ${code}` : ''}`);
}
