/**
 * States in Redis, which any server of the model takes up. An entry is a hash of the bytes of its session file, its version,
 * its time to live and its note; identifiers of an owner are a sorted set, by the time at which each entry is over.
 * Compare-and-set is a script, which Redis runs alone.
 */
import { decodeSession, encodeSession } from '../../decoding/state/session-file.ts';
import type { TextModel } from '../../engine/text-model.ts';
import { LinnetError } from '../../errors.ts';
import type { Redis } from '../../redis/client.ts';
import {
  type KeptState,
  nameOf,
  type SaveOptions,
  type StateName,
  type StateStore,
  type StoredState,
  StoreError,
} from './state-store.ts';

/** KEYS: entry, index. ARGV: expected version or '', bytes, seconds to live or 0, id, note. Returns the new version, or −1. */
const saveScript = `
local version = tonumber(redis.call('HGET', KEYS[1], 'version') or '0')
if ARGV[1] ~= '' and version ~= tonumber(ARGV[1]) then return -1 end
redis.call('HSET', KEYS[1], 'version', version + 1, 'bytes', ARGV[2], 'ttl', ARGV[3], 'note', ARGV[5])
local ttl = tonumber(ARGV[3])
local over = '+inf'
if ttl > 0 then
  redis.call('EXPIRE', KEYS[1], ttl)
  over = tonumber(redis.call('TIME')[1]) + ttl
else
  redis.call('PERSIST', KEYS[1])
end
if KEYS[2] then redis.call('ZADD', KEYS[2], over, ARGV[4]) end
return version + 1`;

/** KEYS: index. Identifiers of entries whose time is over leave it. */
const listScript = `
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1])
return redis.call('ZRANGE', KEYS[1], 0, -1)`;

/** Most bytes that Redis keeps in one value. */
const mostBytes = 512 * 2 ** 20;

export class RedisStore implements StateStore {
  readonly #redis: Redis;
  readonly #model: TextModel;
  readonly #kind: string;
  readonly #idle: number | undefined;

  /**
   * The connection stays the caller's.
   * @param kind part of the keys
   * @param idle seconds that every entry stays after it was last of use, and is not listed. Default: as each save says
   */
  constructor(redis: Redis, model: TextModel, kind: string, idle?: number) {
    this.#redis = redis;
    this.#model = model;
    this.#kind = kind;
    this.#idle = idle;
  }

  async load(name: StateName): Promise<StoredState | undefined> {
    const key = this.#key(name);
    const fields = await redisAnswer(key, this.#redis.hmgetBuffer(key, 'bytes', 'version', 'ttl', 'note'));
    const [bytes, version, ttl, note] = fields;
    if (bytes === null) return undefined;
    await this.#touch(key);
    const { engine, fingerprint } = this.#model;
    const session = await decodeSession(bytes, engine, fingerprint, `${this.#kind} ${name.id}`);
    const seconds = this.#number(ttl, name);
    return {
      session: { ...session, ...(note !== null && note.length > 0 && { note: note.toString('utf8') }) },
      version: this.#number(version, name),
      ttl: seconds === 0 ? undefined : seconds,
    };
  }

  async version(name: StateName): Promise<number | undefined> {
    const key = this.#key(name);
    const version = await redisAnswer(key, this.#redis.hgetBuffer(key, 'version'));
    if (version === null) return undefined;
    await this.#touch(key);
    return this.#number(version, name);
  }

  async save(
    name: StateName,
    session: KeptState,
    { expected, ttl = this.#idle ?? 0 }: SaveOptions,
  ): Promise<number | undefined> {
    const { buffer, byteOffset, byteLength } = encodeSession({ ...session, fingerprint: this.#model.fingerprint });
    const bytes = Buffer.from(buffer, byteOffset, byteLength);
    if (bytes.length > mostBytes) {
      throw new LinnetError('INPUT', `the session has ${bytes.length} bytes, and Redis keeps ${mostBytes} in a value`);
    }
    const key = this.#key(name);
    const keys = [key, ...(this.#idle === undefined ? [this.#index(name.owner)] : [])];
    const values = [expected ?? '', bytes, ttl, name.id, session.note ?? ''];
    const version = await redisAnswer(key, this.#redis.eval(saveScript, keys.length, ...keys, ...values));
    return Number(version) > 0 ? Number(version) : undefined;
  }

  async remove(name: StateName): Promise<boolean> {
    const key = this.#key(name);
    if (this.#idle === undefined) await redisAnswer(key, this.#redis.zrem(this.#index(name.owner), name.id));
    return (await redisAnswer(key, this.#redis.del(key))) > 0;
  }

  async list(owner: string): Promise<string[]> {
    const index = this.#index(owner);
    const ids = await redisAnswer(index, this.#redis.eval(listScript, 1, index));
    return Array.isArray(ids) ? ids.map(String).sort() : [];
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #key(name: StateName): string {
    return `linnet:${this.#model.fingerprint}:${this.#kind}:${nameOf(name)}`;
  }

  #index(owner: string): string {
    return `linnet:${this.#model.fingerprint}:${this.#kind}s:${nameOf({ owner, id: '' })}`;
  }

  async #touch(key: string): Promise<void> {
    if (this.#idle !== undefined) await redisAnswer(key, this.#redis.expire(key, this.#idle));
  }

  #number(text: Buffer | null, { id }: StateName): number {
    const value = Number(text?.toString() ?? '');
    if (text !== null && text.length > 0 && Number.isSafeInteger(value) && value >= 0) return value;
    throw new LinnetError('FORMAT', `${this.#kind} ${id} has no usable version in Redis`);
  }
}

/** @throws StoreError where Redis gives no answer or has no room; LinnetError `FORMAT` for a key of another type */
export async function redisAnswer<T>(key: string, asked: Promise<T>): Promise<T> {
  try {
    return await asked;
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : '';
    if (message.includes('WRONGTYPE')) {
      throw new LinnetError('FORMAT', `the key ${key} of Redis holds a value of another type; delete it`, { cause });
    }
    throw new StoreError(/\bOOM\b/.test(message), cause);
  }
}
