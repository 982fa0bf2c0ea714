/** An S3 server that checks signatures: moto, from Debian, with a user, a key and a bucket of ours. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { end, freePort, listening } from '../serving/local-process.ts';

const moto = '/usr/bin/moto_server';
// Debian's moto imports flask_cors without depending on it.
export const noS3 = ![moto, '/usr/lib/python3/dist-packages/flask_cors'].every((path) => existsSync(path));
/** What to put into the title of a test that needs it. */
export const needsS3 = noS3
  ? ' (skipped: there is no moto_server; apt-get install python3-moto python3-flask-cors)'
  : '';

export interface RunningS3 {
  readonly bucket: string;
  /** Variables for clients. */
  readonly environment: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

const policy = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] };
const bucket = 'linnet-results';

export async function startS3(): Promise<RunningS3> {
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  // The requests that make user, key, rights and bucket are believed unsigned.
  const environment = { ...process.env, INITIAL_NO_AUTH_ACTION_COUNT: '4' };
  const child = spawn(moto, ['-H', '127.0.0.1', '-p', String(port)], { env: environment, stdio: 'ignore' });
  await listening(port, child);
  const ask = async (service: 'iam' | 's3', method: string, path: string, fields?: Record<string, string>) => {
    const scope = `someone/20260101/us-east-1/${service}/aws4_request`;
    const authorization = `AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=host, Signature=none`;
    const body = fields && new URLSearchParams({ ...fields, Version: '2010-05-08', UserName: 'linnet' });
    const response = await fetch(`${origin}${path}`, { method, headers: { authorization }, body });
    const text = await response.text();
    if (!response.ok) throw new Error(`moto answers ${response.status}: ${text}`);
    return text;
  };
  await ask('iam', 'POST', '/', { Action: 'CreateUser' });
  const key = await ask('iam', 'POST', '/', { Action: 'CreateAccessKey' });
  const rights = { PolicyName: 'all', PolicyDocument: JSON.stringify(policy) };
  await ask('iam', 'POST', '/', { Action: 'PutUserPolicy', ...rights });
  await ask('s3', 'PUT', `/${bucket}`);
  const valueOf = (field: string): string => new RegExp(`<${field}>([^<]+)<`).exec(key)?.[1] ?? '';
  return {
    bucket,
    environment: {
      ...{ AWS_ACCESS_KEY_ID: valueOf('AccessKeyId'), AWS_SECRET_ACCESS_KEY: valueOf('SecretAccessKey') },
      AWS_ENDPOINT_URL: origin,
    },
    stop: () => end(child),
  };
}
