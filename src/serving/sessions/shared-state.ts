/** State that servers of one model share through Redis: sessions, answers, slots, beginnings of texts, rates, and the salt of keys. */
import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { TextModel } from '../../engine/text-model.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import { chainKeys, type SharedPrefixes } from '../../engine/text/prefix-cache.ts';
import { LinnetError } from '../../errors.ts';
import { openRedis, type Redis } from '../../redis/client.ts';
import { MemoryStore } from './memory-store.ts';
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

/** Seconds that an entry stays after it was last of use. */
const timeToLive = 3600;
/** Entries on their way to Redis; more are left out. */
const mostPending = 16;
/** Longest lengths of a salt that are asked for. */
const mostLengths = 256;
/** Milliseconds after which a prompt is read rather than waited for. */
const patience = 500;

/**
 * Beginnings of texts. An entry is a session file under its chain key; per salt a sorted set holds the lengths at which there
 * are any. What comes from there is checked as foreign bytes are, and must be of the very tokens that were asked for: else it
 * is as if there were none.
 */
class RedisPrefixes implements SharedPrefixes {
  readonly #redis: Redis;
  readonly #model: TextModel;
  readonly #store: RedisStore;
  readonly #onProblem: (error: unknown) => void;
  readonly #pending = new Set<Promise<void>>();

  /** @param onProblem called for entries that are unusable and of a Redis that does not answer. The connection is the caller's. */
  constructor(redis: Redis, model: TextModel, onProblem: (error: unknown) => void) {
    this.#redis = redis;
    this.#model = model;
    this.#store = new RedisStore(redis, model, 'prefix', timeToLive);
    this.#onProblem = onProblem;
  }

  find(salt: string, tokens: readonly number[], above: number, below: number): Promise<SequenceState | undefined> {
    const found = this.#find(salt, tokens, above, below).catch((error: unknown) => {
      this.#onProblem(error);
      return undefined;
    });
    return Promise.race([found, sleep(patience, undefined, { ref: false })]);
  }

  add(salt: string, tokens: readonly number[], state: SequenceState): void {
    if (this.#pending.size >= mostPending) return;
    const adding = this.#add(salt, tokens, state)
      .catch(this.#onProblem)
      .finally(() => this.#pending.delete(adding));
    this.#pending.add(adding);
  }

  async settle(): Promise<void> {
    await Promise.all(this.#pending);
  }

  async #find(
    salt: string,
    tokens: readonly number[],
    above: number,
    below: number,
  ): Promise<SequenceState | undefined> {
    const name = this.#lengths(salt);
    const known = await this.#redis.zrevrangebyscore(name, below - 1, above + 1, 'LIMIT', 0, mostLengths);
    const lengths = known.map(Number).reverse();
    const entries = chainKeys(salt, tokens, lengths).map((id) => ({ owner: '', id }));
    const versions = await Promise.all(entries.map((entry) => this.#store.version(entry)));
    const best = versions.findLastIndex((version) => version !== undefined);
    if (best < 0) return undefined;
    try {
      const found = await this.#store.load(entries[best]);
      if (found === undefined) return undefined;
      const { state, tokens: read } = found.session;
      if (state.length === lengths[best] && Array.from(read).every((token, i) => tokens[i] === token)) return state;
      throw new LinnetError('MISMATCH', 'a shared beginning is not of the tokens that its key says');
    } catch (error) {
      if (error instanceof LinnetError) await this.#store.remove(entries[best]);
      throw error;
    }
  }

  async #add(salt: string, tokens: readonly number[], state: SequenceState): Promise<void> {
    const { length } = state;
    const entry = { owner: '', id: chainKeys(salt, tokens, [length])[0] };
    if ((await this.#store.version(entry)) !== undefined) return;
    await this.#store.save(entry, { state, tokens: tokens.slice(0, length) }, {});
    const lengths = this.#lengths(salt);
    await this.#redis.zadd(lengths, length, String(length));
    await this.#redis.expire(lengths, 2 * timeToLive);
  }

  #lengths(salt: string): string {
    const name = createHash('sha256').update(salt).digest('base64url');
    return `linnet:${this.#model.fingerprint}:prefix-lengths:${name}`;
  }
}
