/**
 * Sessions in Redis, which any server of the model takes up. A session is a hash of its bytes and its version; the ids of
 * an owner are a sorted set, by the time at which each is over. Compare-and-set is a script, which Redis runs alone.
 */
import { decodeSession, encodeSession, type SavedSession } from '../../decoding/state/session-file.ts';
import { LinnetError } from '../../errors.ts';
import type { Redis } from '../../redis/client.ts';
import type { TextModel } from '../../engine/text-model.ts';
import {
  nameOf,
  type SaveOptions,
  type SessionName,
  type SessionStore,
  type StoredSession,
  StoreUnavailableError,
} from './session-store.ts';

/** KEYS: session, index. ARGV: expected version, bytes, seconds to live or 0, id. Returns the new version, or −1. */
const saveScript = `
local version = tonumber(redis.call('HGET', KEYS[1], 'version') or '0')
if version ~= tonumber(ARGV[1]) then return -1 end
redis.call('HSET', KEYS[1], 'version', version + 1, 'bytes', ARGV[2], 'ttl', ARGV[3])
local ttl = tonumber(ARGV[3])
local over = '+inf'
if ttl > 0 then
  redis.call('EXPIRE', KEYS[1], ttl)
  over = tonumber(redis.call('TIME')[1]) + ttl
else
  redis.call('PERSIST', KEYS[1])
end
redis.call('ZADD', KEYS[2], over, ARGV[4])
return version + 1`;

/** KEYS: session, index. ARGV: id. */
const removeScript = `
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('DEL', KEYS[1])`;

/** KEYS: index. Ids of sessions whose time is over leave it. */
const listScript = `
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1])
return redis.call('ZRANGE', KEYS[1], 0, -1)`;

/** Most bytes that Redis keeps in one value. */
const mostBytes = 512 * 2 ** 20;

export class RedisSessions implements SessionStore {
  readonly #redis: Redis;
  readonly #model: TextModel;

  /** The connection stays the caller's. */
  constructor(redis: Redis, model: TextModel) {
    this.#redis = redis;
    this.#model = model;
  }

  async load(name: SessionName): Promise<StoredSession | undefined> {
    const [bytes, version, ttl] = await answer(this.#redis.hmgetBuffer(this.#key(name), 'bytes', 'version', 'ttl'));
    if (bytes === null) return undefined;
    const { engine, fingerprint } = this.#model;
    const session = await decodeSession(bytes, engine, fingerprint, `session ${name.id}`);
    const seconds = wholeNumber(ttl, name);
    return { session, version: wholeNumber(version, name), ttl: seconds === 0 ? undefined : seconds };
  }

  async version(name: SessionName): Promise<number | undefined> {
    const version = await answer(this.#redis.hgetBuffer(this.#key(name), 'version'));
    return version === null ? undefined : wholeNumber(version, name);
  }

  async save(
    name: SessionName,
    session: SavedSession,
    { expected, ttl = 0 }: SaveOptions,
  ): Promise<number | undefined> {
    const { buffer, byteOffset, byteLength } = encodeSession({ ...session, fingerprint: this.#model.fingerprint });
    const bytes = Buffer.from(buffer, byteOffset, byteLength);
    if (bytes.length > mostBytes) {
      throw new LinnetError('INPUT', `the session has ${bytes.length} bytes, and Redis keeps ${mostBytes} in a value`);
    }
    const keys = [this.#key(name), this.#index(name.owner)];
    const version = await answer(this.#redis.eval(saveScript, keys.length, ...keys, expected, bytes, ttl, name.id));
    return Number(version) > 0 ? Number(version) : undefined;
  }

  async remove(name: SessionName): Promise<boolean> {
    const keys = [this.#key(name), this.#index(name.owner)];
    return Number(await answer(this.#redis.eval(removeScript, keys.length, ...keys, name.id))) > 0;
  }

  async list(owner: string): Promise<string[]> {
    const ids = await answer(this.#redis.eval(listScript, 1, this.#index(owner)));
    return Array.isArray(ids) ? ids.map(String).sort() : [];
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #key(name: SessionName): string {
    return `linnet:${this.#model.fingerprint}:session:${nameOf(name)}`;
  }

  #index(owner: string): string {
    return `linnet:${this.#model.fingerprint}:sessions:${nameOf({ owner, id: '' })}`;
  }
}

/** @throws StoreUnavailableError where Redis gives none */
async function answer<T>(asked: Promise<T>): Promise<T> {
  try {
    return await asked;
  } catch (cause) {
    throw new StoreUnavailableError(cause);
  }
}

function wholeNumber(text: Buffer | null, { id }: SessionName): number {
  const value = Number(text?.toString() ?? '');
  if (text !== null && text.length > 0 && Number.isSafeInteger(value) && value >= 0) return value;
  throw new LinnetError('FORMAT', `session ${id} has no usable version in Redis`);
}
