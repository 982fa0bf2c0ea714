/** Connections to Redis. Loads the client package only when given a Redis address. */
import type { Redis } from 'ioredis';
import { LinnetError, reasonOf } from '../errors.ts';
import { loadOptional } from '../files/optional-package.ts';

export type { Redis } from 'ioredis';

/** Whether a setting that may name a folder or a server names a server. */
export function isRedisUrl(place: string): boolean {
  return /^rediss?:\/\//i.test(place);
}

/** How a connection behaves. */
export interface RedisOptions {
  /** Attempts at a command while the server is away; null retries forever. Default 2: about a second. */
  readonly retries?: number | null;
}

/**
 * Connects, and makes sure that the server answers. Disconnect when done.
 *
 * @param url `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS
 * @throws LinnetError `NOT_FOUND` without the package ioredis, `INPUT` for a bad address or a server that does not answer
 */
export async function openRedis(url: string, { retries = 2 }: RedisOptions = {}): Promise<Redis> {
  const shown = withoutPassword(url);
  const { Redis } = await loadOptional(() => import('ioredis'), 'ioredis', shown);
  const redis = new Redis(url, {
    lazyConnect: true,
    connectTimeout: 5_000,
    maxRetriesPerRequest: retries,
    retryStrategy: (attempts) => Math.min(50 * attempts, 400),
  });
  // Errors of commands reach their callers; without a listener, connection errors would be printed.
  redis.on('error', () => undefined);
  try {
    await redis.connect();
    await redis.ping();
    return redis;
  } catch (cause) {
    redis.disconnect();
    throw new LinnetError('INPUT', `cannot connect to Redis at ${shown}: ${reasonOf(cause)}`, { cause });
  }
}

/** The answer to a command. @throws Error if it takes longer: a hung server keeps its connections open */
export async function answerWithin<T>(milliseconds: number, asked: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`Redis did not answer within ${milliseconds} ms`));
    }, milliseconds);
  });
  try {
    return await Promise.race([asked, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A printable address. @throws LinnetError `INPUT` for an invalid one */
function withoutPassword(url: string): string {
  try {
    const { protocol, host, pathname } = new URL(url);
    return `${protocol}//${host}${pathname}`;
  } catch {
    throw new LinnetError('INPUT', 'the Redis address is not valid; expected redis://user:password@host:6379/0');
  }
}
