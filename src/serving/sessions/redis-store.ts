/**
 * States in Redis, which any server of the model takes up. An entry is a hash of the bytes of its session file, its version,
 * its time to live and its note; identifiers of an owner are a sorted set, by the time at which each entry is over.
 * Compare-and-set is a script, which Redis runs alone.
 */
import { decodeSession, encodeSession } from '../../decoding/state/session-file.ts';
import { LinnetError } from '../../errors.ts';
import { answerWithin, type Redis } from '../../redis/client.ts';
import { nameOf, type StateModel, type SessionName, type SessionStore } from '../../engine/session-store.ts';
import { StoreError } from '../http/api-error.ts';

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

/** Milliseconds for an answer, and minimum bytes sent per millisecond. */
const patience = { answer: 800, bytes: 10_000 };
/** Milliseconds for the bytes of an existing entry. */
const loadPatience = 30_000;

/**
 * A store in Redis. The connection stays the caller's.
 * @param kind part of the keys
 * @param idle seconds that every entry stays after it was last of use, and is not listed. Default: as each save says
 */
export function redisStore(redis: Redis, model: StateModel, kind: string, idle?: number): SessionStore {
  const { engine, fingerprint } = model;
  const keyOf = (name: SessionName): string => `linnet:${fingerprint}:${kind}:${nameOf(name)}`;
  const indexOf = (owner: string): string => `linnet:${fingerprint}:${kind}s:${nameOf({ owner, id: '' })}`;
  const touch = async (key: string): Promise<void> => {
    if (idle !== undefined) await redisAnswer(key, redis.expire(key, idle));
  };
  const numberIn = (text: Buffer | null, { id }: SessionName): number => {
    const value = Number(text?.toString() ?? '');
    if (text !== null && text.length > 0 && Number.isSafeInteger(value) && value >= 0) return value;
    throw new LinnetError('FORMAT', `${kind} ${id} has no usable version in Redis`);
  };
  return {
    async read(name) {
      const key = keyOf(name);
      // A Redis that hangs is found out before it is asked for much.
      if ((await redisAnswer(key, redis.exists(key))) === 0) return undefined;
      const asked = redis.hmgetBuffer(key, 'bytes', 'version', 'ttl', 'note');
      const fields = await redisAnswer(key, asked, loadPatience);
      const [bytes, version, ttl, note] = fields;
      if (bytes === null) return undefined;
      await touch(key);
      const session = await decodeSession(bytes, engine, fingerprint, `${kind} ${name.id}`);
      const seconds = numberIn(ttl, name);
      return {
        session: { ...session, ...(note !== null && note.length > 0 && { note: note.toString('utf8') }) },
        version: numberIn(version, name),
        ttl: seconds === 0 ? undefined : seconds,
      };
    },

    async version(name) {
      const key = keyOf(name);
      const version = await redisAnswer(key, redis.hgetBuffer(key, 'version'));
      if (version === null) return undefined;
      await touch(key);
      return numberIn(version, name);
    },

    async write(name, session, { expected, ttl = idle ?? 0 } = {}) {
      const { buffer, byteOffset, byteLength } = encodeSession({ ...session, fingerprint });
      const bytes = Buffer.from(buffer, byteOffset, byteLength);
      if (bytes.length > mostBytes) {
        throw new LinnetError(
          'INPUT',
          `the session has ${bytes.length} bytes, but a Redis value holds at most ${mostBytes}`,
        );
      }
      const key = keyOf(name);
      const keys = [key, ...(idle === undefined ? [indexOf(name.owner)] : [])];
      const values = [expected ?? '', bytes, ttl, name.id, session.note ?? ''];
      const milliseconds = patience.answer + bytes.length / patience.bytes;
      const version = await redisAnswer(key, redis.eval(saveScript, keys.length, ...keys, ...values), milliseconds);
      return Number(version) > 0 ? Number(version) : undefined;
    },

    async delete(name) {
      const key = keyOf(name);
      if (idle === undefined) await redisAnswer(key, redis.zrem(indexOf(name.owner), name.id));
      return (await redisAnswer(key, redis.del(key))) > 0;
    },

    async list(owner) {
      const index = indexOf(owner);
      const ids = await redisAnswer(index, redis.eval(listScript, 1, index));
      return Array.isArray(ids) ? ids.map(String).sort() : [];
    },

    close: () => Promise.resolve(),
  };
}

/** @throws StoreError if Redis does not answer or has no room; LinnetError `FORMAT` for a key of another type */
async function redisAnswer<T>(key: string, asked: Promise<T>, milliseconds = patience.answer): Promise<T> {
  try {
    return await answerWithin(milliseconds, asked);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : '';
    if (message.includes('WRONGTYPE')) {
      throw new LinnetError('FORMAT', `the Redis key ${key} holds a value of another type; delete it`, { cause });
    }
    throw new StoreError(/\bOOM\b/.test(message), cause);
  }
}
