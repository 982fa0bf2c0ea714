/** State that servers of one model share through Redis: sessions, answers, slots, beginnings of texts, rates, and the salt of keys. */
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { TextModel } from '../../engine/text-model.ts';
import type { SharedPrefixes } from '../../engine/text/prefix-cache.ts';
import { openRedis, type Redis } from '../../redis/client.ts';
import { MemoryStore } from './memory-store.ts';
import { RedisPrefixes } from './redis-prefixes.ts';
import { RedisStore } from './redis-store.ts';
import { redisSlots, type SlotFiles } from './slots.ts';
import type { StateStore } from './state-store.ts';

export interface SharedState {
  readonly redis: Redis;
  readonly sessions: StateStore;
  readonly prefixes: SharedPrefixes;
  readonly slotFiles: SlotFiles;
  /** Answers of all servers, the last ones of this server in memory too. */
  responses(maxBytes: number): StateStore;
  /** Salts the keys of beginnings; unknown outside. */
  readonly secret: string;
  /** Waits for entries on their way, and disconnects. */
  close(): Promise<void>;
}

/** Seconds that an answer is kept after it was last gone on from. */
const responseSeconds = 86_400;

/** Connects a server to the others. @throws LinnetError as `openRedis` */
export async function openSharedState(url: string, model: TextModel, log: Logger): Promise<SharedState> {
  const redis = await openRedis(url);
  const name = `linnet:${model.fingerprint}:secret`;
  await redis.set(name, randomBytes(16).toString('hex'), 'NX');
  const secret = (await redis.get(name)) ?? '';
  const warn =
    (what: string) =>
    (err: unknown): void => {
      log.warn({ err }, `${what} not usable`);
    };
  const prefixes = new RedisPrefixes(redis, model, warn('shared beginning'));
  return {
    redis,
    sessions: new RedisStore(redis, model, 'session'),
    prefixes,
    slotFiles: redisSlots(redis, model),
    responses: (maxBytes) =>
      new MemoryStore({
        cold: new RedisStore(redis, model, 'response', responseSeconds),
        maxBytes,
        onAbsence: warn('shared answers'),
      }),
    secret,
    async close() {
      await prefixes.settle();
      redis.disconnect();
    },
  };
}
