/** Who may ask: keys, the address that a browser asked for, and how often. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { isIPv4 } from 'node:net';
import { RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible';
import type { Redis } from '../../redis/client.ts';
import { ApiError } from './api-error.ts';

/** The keys of a server. Only their digests are kept. */
export class ApiKeys {
  readonly #digests: readonly Buffer[];

  constructor(keys: readonly string[]) {
    this.#digests = keys.map(digestOf);
  }

  /**
   * The name of the key that a request brings, for sharing out and keeping apart; not the key itself. Takes as long for a
   * wrong key as for a right one.
   * @throws ApiError where a key is needed and none of ours was given
   */
  identify(headers: Headers): string {
    if (this.#digests.length === 0) return '';
    const bearer = /^Bearer +(.+)$/i.exec(headers.get('authorization') ?? '')?.[1];
    const digest = digestOf(bearer ?? headers.get('x-api-key') ?? '');
    let found = -1;
    for (const [index, own] of this.#digests.entries()) if (timingSafeEqual(own, digest)) found = index;
    if (found < 0) throw new ApiError('authentication_error', 'the API key is missing or wrong');
    return this.#digests[found].toString('hex').slice(0, 16);
  }
}

function digestOf(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}

/** Whether only this machine reaches an address. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || (isIPv4(host) && host.startsWith('127.'));
}

/**
 * Refuses requests that a web page made of a name that its owner pointed at this machine (DNS rebinding).
 * @throws ApiError for a Host header that names another machine
 */
export function checkHost(header: string | null): void {
  if (header === null || isLoopback(header.replace(/:\d+$/, ''))) return;
  throw new ApiError(
    'permission_error',
    'this server answers requests to localhost only; --host and --api-key open it',
  );
}

/** Most requests a minute and key. */
export class RequestRate {
  readonly #limiter: RateLimiterMemory | RateLimiterRedis;

  /** @param redis where servers that share it count together; each counts for itself while it does not answer */
  constructor(perMinute: number, redis?: Redis) {
    const share = { points: perMinute, duration: 60 };
    const own = new RateLimiterMemory(share);
    const shared = { ...share, storeClient: redis, keyPrefix: 'linnet:rate', insuranceLimiter: own };
    this.#limiter = redis === undefined ? own : new RateLimiterRedis(shared);
  }

  /** @throws ApiError when the key has had its share */
  async take(key: string): Promise<void> {
    try {
      await this.#limiter.consume(key === '' ? 'anyone' : key);
    } catch (reason) {
      const wait =
        typeof reason === 'object' && reason !== null && 'msBeforeNext' in reason ? Number(reason.msBeforeNext) : 1000;
      throw new ApiError('rate_limit_error', 'too many requests in a minute', { retryAfter: Math.ceil(wait / 1000) });
    }
  }
}
