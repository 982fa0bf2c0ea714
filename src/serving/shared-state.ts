/** What servers of one model share through Redis: sessions, answers, slots, beginnings of texts, rates, and the salt of keys. */
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import { openRedis, type Redis } from '../redis/client.ts';
import type { TextModel } from '../engine/text-model.ts';
import { RedisSessions } from './sessions/redis-sessions.ts';
import { RedisResponses } from './sessions/redis-responses.ts';
import type { ResponseStore } from './sessions/response-store.ts';
import { redisSlotFiles, type SlotFiles } from './sessions/slot-files.ts';
import type { SessionStore } from './sessions/session-store.ts';
import type { SharedPrefixes } from '../engine/text/prefix-cache.ts';
import { RedisPrefixes } from './sessions/redis-prefixes.ts';

export interface SharedState {
  readonly redis: Redis;
  readonly sessions: SessionStore;
  readonly prefixes: SharedPrefixes;
  readonly slotFiles: SlotFiles;
  /** Answers of all servers, the last of this one in `held` too. */
  responses(held: ResponseStore): ResponseStore;
  /** Salts the keys of beginnings; nobody outside knows it. */
  readonly secret: string;
  /** Waits for what is on its way, and disconnects. */
  close(): Promise<void>;
}

/**
 * Connects a server to the others.
 * @throws LinnetError as `openRedis`
 */
export async function openSharedState(url: string, model: TextModel, log: Logger): Promise<SharedState> {
  const redis = await openRedis(url);
  const name = `linnet:${model.fingerprint}:secret`;
  await redis.set(name, randomBytes(16).toString('hex'), 'NX');
  const secret = (await redis.get(name)) ?? '';
  const prefixes = new RedisPrefixes(redis, model, (error) => {
    log.warn({ err: error }, 'shared beginning not usable');
  });
  return {
    redis,
    sessions: new RedisSessions(redis, model),
    prefixes,
    slotFiles: redisSlotFiles(redis, model),
    responses: (held) =>
      new RedisResponses(redis, model, held, (error) => {
        log.warn({ err: error }, 'shared answer not usable');
      }),
    secret,
    async close() {
      await prefixes.settle();
      redis.disconnect();
    },
  };
}
