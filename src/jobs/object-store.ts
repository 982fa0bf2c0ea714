/** Named contents, in a folder or in a bucket that speaks S3, Amazon's or another's. Requests are signed by aws4fetch. */
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { AwsClient } from 'aws4fetch';
import { ifFound, LinnetError, reasonOf } from '../errors.ts';
import { makeFolder, writeFileAtomic } from '../files/atomic.ts';
import { boundedBody } from '../files/bounded-body.ts';
import { sha256 } from '../files/digest.ts';
import { readInFolder } from '../files/regular-file.ts';
import { loadOptional } from '../files/optional-package.ts';

/** Named contents, replaced as a whole. */
export interface ObjectStore {
  /** For messages. */
  readonly place: string;
  /** The content, if any. @throws LinnetError `FORMAT` or `PATH` for one of more than `most` bytes */
  read(name: string, most: number): Promise<Uint8Array | undefined>;
  write(name: string, content: Uint8Array): Promise<void>;
}

/** A folder's files; creates the folder if needed. @throws LinnetError `PATH` from the file system */
export async function openFolder(folder: string): Promise<ObjectStore> {
  const place = resolve(folder);
  await makeFolder(place);
  return {
    place,
    read: (name, most) => ifFound(readInFolder(place, name, most)),
    write: (name, content) => writeFileAtomic(join(place, name), content),
  };
}

const attempts = 4;
/** Milliseconds after which a request has failed. */
const patience = 120_000;
const mostErrorBytes = 1 << 16;

const bucketUrl = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:\/[\w.-]{1,128}){0,8})\/?$/;

/**
 * A bucket, or the objects under a prefix of it. The environment says who asks and where: `AWS_ACCESS_KEY_ID`,
 * `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION` (default us-east-1), `AWS_ENDPOINT_URL` (default Amazon's).
 *
 * @param url `s3://bucket/prefix`
 * @throws LinnetError `INPUT` for another address, `CONFIG` without keys or for a variable that cannot be used, `NOT_FOUND` without the package aws4fetch
 */
export async function openBucket(url: string, environment = process.env): Promise<ObjectStore> {
  const variable = (...names: readonly string[]): string | undefined => firstSet(environment, names);
  const [, bucket, prefix] = bucketUrl.exec(url) ?? [];
  if (bucket === undefined || /\/\.{1,2}(\/|$)/.test(prefix)) {
    throw new LinnetError('INPUT', `the bucket is ${JSON.stringify(url)}; expected s3://name/prefix`);
  }
  const accessKeyId = variable('AWS_ACCESS_KEY_ID');
  const secretAccessKey = variable('AWS_SECRET_ACCESS_KEY');
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    throw new LinnetError('CONFIG', `${url} needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment`);
  }
  const region = variable('AWS_REGION', 'AWS_DEFAULT_REGION') ?? 'us-east-1';
  const endpoint = plainAddress(
    variable('AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL') ?? `https://s3.${region}.amazonaws.com`,
  );
  const { AwsClient } = await loadOptional(() => import('aws4fetch'), 'aws4fetch', url);
  const client = new AwsClient({
    accessKeyId,
    secretAccessKey,
    sessionToken: variable('AWS_SESSION_TOKEN'),
    service: 's3',
    region,
    retries: 0,
  });
  const addressOf = (name: string): string => `${endpoint}/${bucket}${prefix}/${name}`;
  return {
    place: url,
    async read(name, most) {
      const { status, body } = await request(client, addressOf(name), {}, most);
      if (status === 200) return body;
      // A missing bucket has the same status, and will never hold a result.
      if (status === 404 && !body.includes('NoSuchBucket')) return undefined;
      throw refused('read', `${url}/${name}`, status, body);
    },
    async write(name, content) {
      const headers = { 'x-amz-content-sha256': sha256(content) };
      const { status, body } = await request(client, addressOf(name), { method: 'PUT', body: content, headers }, 0);
      if (status !== 200) throw refused('write', `${url}/${name}`, status, body);
    },
  };
}

/** The first non-empty variable. @throws LinnetError `CONFIG`, without its value, which may be secret */
function firstSet(environment: NodeJS.ProcessEnv, names: readonly string[]): string | undefined {
  const name = names.find((one) => environment[one]);
  const value = name && environment[name];
  if (value && !/^[\x21-\x7e]+$/.test(value)) {
    throw new LinnetError('CONFIG', `${name} has a space, a line break or a non-ASCII character; set it without`);
  }
  return value;
}

/** An address without slashes at its end. @throws LinnetError `CONFIG`, without the address, which may hold a password */
function plainAddress(given: string): string {
  if (URL.canParse(given)) {
    const { protocol, username, password, search, hash, origin, pathname } = new URL(given);
    if (/^https?:$/.test(protocol) && username + password + search + hash === '') {
      return origin + pathname.replace(/\/+$/, '');
    }
  }
  const expected = 'an address such as https://host:9000, without a user, a password or a query';
  throw new LinnetError('CONFIG', `AWS_ENDPOINT_URL is not ${expected}`);
}

/** Sends a request; retries shortly after a server or network failure. @param most bytes of a successful answer */
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
        throw new LinnetError('RUNTIME', `${new URL(address).origin} does not answer: ${reasonOf(cause)}`, {
          cause: error,
        });
      }
    }
    await setTimeout(250 * 4 ** (attempt - 1) * (0.5 + Math.random()));
  }
}

function refused(action: string, place: string, status: number, body: Buffer): LinnetError {
  const [, code] = /<Code>(\w{1,64})<\/Code>/.exec(body.toString('latin1')) ?? [];
  const code404 = status === 404 ? 'NOT_FOUND' : 'PATH';
  return new LinnetError(code404, `cannot ${action} ${place}: the server answered ${status}${code ? ` ${code}` : ''}`);
}
