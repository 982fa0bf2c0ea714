/**
 * Beginnings of texts that servers of a model share through Redis. An entry is a session file under its chain key; per salt
 * a sorted set holds the lengths at which there are any. What comes from there is checked as foreign bytes are, and must be
 * of the very tokens that were asked for: else it is as if there were none.
 */
import { createHash } from 'node:crypto';
import { decodeSession, encodeSession } from '../../decoding/state/session-file.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { Redis } from '../../redis/client.ts';
import type { TextModel } from '../../engine/text-model.ts';
import { chainKeys, type SharedPrefixes } from '../../engine/text/prefix-cache.ts';

/** Seconds that an entry stays after it was last of use. */
const timeToLive = 3600;
/** Entries on their way to Redis; more are left out. */
const mostPending = 16;
/** Longest lengths of a salt that are asked for. */
const mostLengths = 256;
/** Milliseconds after which a prompt is read rather than waited for. */
const patience = 500;

export class RedisPrefixes implements SharedPrefixes {
  readonly #redis: Redis;
  readonly #model: TextModel;
  readonly #onProblem: (error: unknown) => void;
  readonly #pending = new Set<Promise<void>>();

  /** @param onProblem called for entries that are unusable and of a Redis that does not answer. The connection is the caller's. */
  constructor(redis: Redis, model: TextModel, onProblem: (error: unknown) => void) {
    this.#redis = redis;
    this.#model = model;
    this.#onProblem = onProblem;
  }

  async find(
    salt: string,
    tokens: readonly number[],
    above: number,
    below: number,
  ): Promise<SequenceState | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(resolve, patience, undefined);
    });
    const found = this.#find(salt, tokens, above, below).catch((error: unknown) => {
      this.#onProblem(error);
      return undefined;
    });
    try {
      return await Promise.race([found, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  add(salt: string, tokens: readonly number[], state: SequenceState): void {
    if (this.#pending.size >= mostPending) return;
    const adding = this.#add(salt, tokens, state)
      .catch(this.#onProblem)
      .finally(() => this.#pending.delete(adding));
    this.#pending.add(adding);
  }

  /** Waits for what is on its way. */
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
    const keys = chainKeys(salt, tokens, lengths).map((key) => this.#entry(key));
    if (keys.length === 0) return undefined;
    const pipeline = this.#redis.pipeline();
    for (const key of keys) pipeline.exists(key);
    const answers = (await pipeline.exec()) ?? [];
    const best = answers.findLastIndex(([, exists]) => exists === 1);
    if (best < 0) return undefined;
    const bytes = await this.#redis.getexBuffer(keys[best], 'EX', timeToLive);
    if (bytes === null) return undefined;
    const { engine, fingerprint } = this.#model;
    try {
      const { state, tokens: read } = await decodeSession(bytes, engine, fingerprint, 'a shared beginning');
      if (state.length === lengths[best] && read.every((token, index) => tokens[index] === token)) return state;
      throw new Error('a shared beginning is not of the tokens that its key says');
    } catch (error) {
      this.#onProblem(error);
      await this.#redis.del(keys[best]);
      return undefined;
    }
  }

  async #add(salt: string, tokens: readonly number[], state: SequenceState): Promise<void> {
    const { length } = state;
    const entry = this.#entry(chainKeys(salt, tokens, [length])[0]);
    if ((await this.#redis.exists(entry)) === 1) return;
    const { fingerprint } = this.#model;
    const bytes = encodeSession({ state, tokens: tokens.slice(0, length), fingerprint });
    await this.#redis.set(entry, Buffer.from(bytes), 'EX', timeToLive);
    const lengths = this.#lengths(salt);
    await this.#redis.zadd(lengths, length, String(length));
    await this.#redis.expire(lengths, 2 * timeToLive);
  }

  #entry(key: string): string {
    return `linnet:${this.#model.fingerprint}:prefix:${key}`;
  }

  #lengths(salt: string): string {
    const name = createHash('sha256').update(salt).digest('base64url');
    return `linnet:${this.#model.fingerprint}:prefix-lengths:${name}`;
  }
}
