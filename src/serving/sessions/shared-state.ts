/** State that servers of one model share through Redis: sessions, answers, beginnings of texts, rates, and the salt of keys. */
import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import { chainKeys, type SharedPrefixes } from '../../engine/text/prefix-cache.ts';
import { LinnetError } from '../../errors.ts';
import { answerWithin, openRedis, type Redis } from '../../redis/client.ts';
import { MemoryStore } from './memory-store.ts';
import { redisStore } from './redis-store.ts';
import type { StateModel, SessionStore } from '../../engine/session-store.ts';

export type SharedState = Awaited<ReturnType<typeof openSharedState>>;

/** Seconds that an answer is kept after it was last gone on from. */
const responseSeconds = 86_400;

/** Connects a server to the others. @throws LinnetError as `openRedis` */
export async function openSharedState(url: string, model: StateModel, log: Logger) {
  const redis = await openRedis(url);
  const name = `linnet:${model.fingerprint}:secret`;
  await redis.set(name, randomBytes(16).toString('hex'), 'NX');
  const secret = (await redis.get(name)) ?? '';
  const warn = (what: string) => (err: unknown) => {
    log.warn({ err }, `${what} not usable`);
  };
  const prefixes = redisPrefixes(redis, model, warn('shared beginning'));
  return {
    redis,
    sessions: redisStore(redis, model, 'session'),
    prefixes,
    /** Answers of all servers, the last ones of this server in memory too. */
    responses(maxBytes: number): SessionStore {
      const cold = redisStore(redis, model, 'response', responseSeconds);
      return new MemoryStore({ cold, maxBytes, onAbsence: warn('shared answers') });
    },
    /** Salts the keys of beginnings; unknown outside. */
    secret,
    /** Waits for entries on their way, and disconnects. */
    async close(): Promise<void> {
      await prefixes.settle();
      redis.disconnect();
    },
  };
}

/** Seconds that an entry stays after it was last of use. */
const timeToLive = 3600;
/** Entries on their way to Redis; more are left out. */
const mostPending = 16;
/** Number of longest lengths to request per salt. */
const mostLengths = 256;
/** Milliseconds after which a prompt is read rather than waited for. */
const patience = 500;
const addPatience = 1000;

/**
 * Beginnings of texts. An entry is a session file under its chain key; per salt a sorted set holds the lengths at which there
 * are any. Bytes from there are untrusted and must belong to exactly the requested tokens: else they
 * are ignored.
 * @param onProblem called for unusable entries and when Redis does not answer
 */
function redisPrefixes(
  redis: Redis,
  model: StateModel,
  onProblem: (error: unknown) => void,
): SharedPrefixes & { settle(): Promise<unknown> } {
  const store = redisStore(redis, model, 'prefix', timeToLive);
  const pending = new Set<Promise<void>>();
  const lengthsOf = (salt: string): string => {
    const name = createHash('sha256').update(salt).digest('base64url');
    return `linnet:${model.fingerprint}:prefix-lengths:${name}`;
  };
  const found: SharedPrefixes['find'] = async (salt, tokens, above, below) => {
    const range = [below - 1, above + 1, 'LIMIT', 0, mostLengths] as const;
    const lengths = (await redis.zrevrangebyscore(lengthsOf(salt), ...range)).map(Number).reverse();
    const entries = chainKeys(salt, tokens, lengths).map((id) => ({ owner: '', id }));
    const versions = await Promise.all(entries.map((entry) => store.version(entry)));
    const best = versions.findLastIndex((version) => version !== undefined);
    if (best < 0) return undefined;
    try {
      const stored = await store.read(entries[best]);
      if (stored === undefined) return undefined;
      const { state, tokens: read } = stored.session;
      if (state.length === lengths[best] && Array.from(read).every((token, i) => tokens[i] === token)) return state;
      throw new LinnetError('MISMATCH', 'a shared prefix has other tokens than its key says');
    } catch (error) {
      if (error instanceof LinnetError) await store.delete(entries[best]);
      throw error;
    }
  };
  const added = async (salt: string, tokens: readonly number[], state: SequenceState): Promise<void> => {
    const { length } = state;
    const entry = { owner: '', id: chainKeys(salt, tokens, [length])[0] };
    if ((await store.version(entry)) !== undefined) return;
    await store.write(entry, { state, tokens: tokens.slice(0, length) });
    await answerWithin(addPatience, redis.zadd(lengthsOf(salt), length, String(length)));
    await answerWithin(addPatience, redis.expire(lengthsOf(salt), 2 * timeToLive));
  };
  return {
    find(salt, tokens, above, below) {
      const state = found(salt, tokens, above, below).catch((error: unknown) => {
        onProblem(error);
        return undefined;
      });
      return Promise.race([state, sleep(patience, undefined, { ref: false })]);
    },
    add(salt, tokens, state) {
      if (pending.size >= mostPending) return;
      const adding = added(salt, tokens, state)
        .catch(onProblem)
        .finally(() => pending.delete(adding));
      pending.add(adding);
    },
    settle: () => Promise.all(pending),
  };
}
