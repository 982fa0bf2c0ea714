/** Who may ask: keys, the address that a browser asked for, and how often. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { isIPv4 } from 'node:net';
import { RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible';
import { answerWithin, type Redis } from '../../redis/client.ts';
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
   * @throws ApiError if a key is needed and no valid one was given
   */
  identify(headers: Headers): string {
    if (this.#digests.length === 0) return '';
    const bearer = /^Bearer +(.+)$/i.exec(headers.get('authorization') ?? '')?.[1];
    const digest = digestOf(bearer ?? headers.get('x-api-key') ?? '');
    let place = -1;
    for (const [index, expected] of this.#digests.entries()) if (timingSafeEqual(expected, digest)) place = index;
    if (place < 0) throw new ApiError('authentication_error', 'the API key is missing or wrong');
    return this.#digests[place].toString('hex').slice(0, 16);
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
 * Refuses requests that pages of others make: under a name that its owner pointed at this machine (DNS rebinding), and, where they
 * change something, from another site: a browser sends such a POST without asking first.
 * @param origins whose pages may ask
 * @param isLocal whether only this machine is answered: the browser then shows its address, and no proxy is between
 * @throws ApiError
 */
export function checkPage({ method, headers }: Request, origins: readonly string[], isLocal: boolean): void {
  const host = headers.get('host')?.toLowerCase();
  if (isLocal && host !== undefined && !isLoopback(host.replace(/:\d+$/, ''))) {
    throw new ApiError(
      'permission_error',
      'this server answers requests to localhost only; start it with --host and --api-key to open it',
    );
  }
  const origin = headers.get('origin');
  if (['GET', 'HEAD', 'OPTIONS'].includes(method) || origins.includes('*')) return;
  if (origin !== null && origins.includes(origin)) return;
  const isForeign = isLocal && origin !== null && hostOf(origin) !== (host ?? '');
  if (headers.get('sec-fetch-site') !== 'cross-site' && !isForeign) return;
  throw new ApiError(
    'permission_error',
    "the request comes from another site's page; start the server with --cors to allow its origin",
  );
}

function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}

/** Milliseconds for an answer of Redis, after which a server counts for itself. */
const redisPatience = 300;

/** Most requests a minute and key. */
export class RequestRate {
  readonly #own: RateLimiterMemory;
  readonly #shared: RateLimiterRedis | undefined;

  /** @param redis lets servers that share it count together; each counts alone while it does not answer */
  constructor(perMinute: number, redis?: Redis) {
    const share = { points: perMinute, duration: 60 };
    this.#own = new RateLimiterMemory(share);
    const shared = { ...share, storeClient: redis, keyPrefix: 'linnet:rate', insuranceLimiter: this.#own };
    this.#shared = redis === undefined ? undefined : new RateLimiterRedis(shared);
  }

  /** @throws ApiError when the key has had its share */
  async take(key: string): Promise<void> {
    const name = key === '' ? 'anyone' : key;
    try {
      if (this.#shared === undefined) await this.#own.consume(name);
      else {
        await answerWithin(redisPatience, this.#shared.consume(name)).catch((reason: unknown) => {
          if (reason instanceof Error) return this.#own.consume(name);
          throw reason;
        });
      }
    } catch (reason) {
      const wait =
        typeof reason === 'object' && reason !== null && 'msBeforeNext' in reason ? Number(reason.msBeforeNext) : 1000;
      throw new ApiError('rate_limit_error', 'too many requests in a minute; try again later', {
        retryAfter: Math.ceil(wait / 1000),
      });
    }
  }
}
