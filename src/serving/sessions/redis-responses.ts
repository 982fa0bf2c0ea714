/**
 * Answers of /v1/responses in Redis, which any server of the model goes on from. An answer is a hash of what was said, as JSON,
 * and its session file; what comes back is checked as foreign bytes are.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { decodeSession, encodeSession } from '../../decoding/state/session-file.ts';
import type { Redis } from '../../redis/client.ts';
import type { TextModel } from '../../engine/text-model.ts';
import type { ResponseStore, StoredResponse } from './response-store.ts';
import { StoreUnavailableError } from './session-store.ts';

/** Seconds that an answer is kept after it was last gone on from. */
const timeToLive = 86_400;

const saidSchema = z.strictObject({
  messages: z.array(z.object({ role: z.string(), content: z.string(), name: z.string().optional() })),
  body: z.looseObject({}),
});

/** Answers of all servers, the last of this one in memory too. */
export class RedisResponses implements ResponseStore {
  readonly #redis: Redis;
  readonly #model: TextModel;
  readonly #held: ResponseStore;
  readonly #onProblem: (error: unknown) => void;

  /**
   * @param held answers in memory, used while Redis has them too, or is away
   * @param onProblem told of answers that could not be kept in Redis, or came back damaged. The connection is the caller's.
   */
  constructor(redis: Redis, model: TextModel, held: ResponseStore, onProblem: (error: unknown) => void) {
    this.#redis = redis;
    this.#model = model;
    this.#held = held;
    this.#onProblem = onProblem;
  }

  async get(owner: string, id: string): Promise<StoredResponse | undefined> {
    const held = await this.#held.get(owner, id);
    const key = this.#key(owner, id);
    let found: readonly (Buffer | null)[];
    try {
      // An answer that another server was told to forget is none.
      const known = await this.#redis.expire(key, timeToLive);
      if (held !== undefined && known === 1) return held;
      if (known === 0) {
        await this.#held.remove(owner, id);
        return undefined;
      }
      found = await this.#redis.hmgetBuffer(key, 'said', 'session');
    } catch (cause) {
      if (held !== undefined) return held;
      throw new StoreUnavailableError(cause);
    }
    const [said, session] = found;
    if (said === null || session === null) return undefined;
    const response = await this.#decode(owner, said, session);
    if (response !== undefined) await this.#held.add(id, response);
    return response;
  }

  /** Resolves when other servers find it, or when it is clear that they will not: the answer goes out all the same. */
  async add(id: string, response: StoredResponse): Promise<void> {
    await this.#held.add(id, response);
    const { owner, messages, body, session } = response;
    const key = this.#key(owner, id);
    try {
      const bytes = encodeSession({ ...session, fingerprint: this.#model.fingerprint });
      const said = JSON.stringify({ messages, body });
      const pipeline = this.#redis.multi().hset(key, 'said', said, 'session', Buffer.from(bytes));
      await pipeline.expire(key, timeToLive).exec();
    } catch (error) {
      this.#onProblem(error);
    }
  }

  async remove(owner: string, id: string): Promise<boolean> {
    await this.#held.remove(owner, id);
    try {
      return (await this.#redis.del(this.#key(owner, id))) === 1;
    } catch (cause) {
      throw new StoreUnavailableError(cause);
    }
  }

  async #decode(owner: string, said: Buffer, session: Buffer): Promise<StoredResponse | undefined> {
    const { engine, fingerprint } = this.#model;
    try {
      const { messages, body } = saidSchema.parse(JSON.parse(said.toString('utf8')));
      return { owner, messages, body, session: await decodeSession(session, engine, fingerprint, 'a shared answer') };
    } catch (error) {
      this.#onProblem(error);
      return undefined;
    }
  }

  /** Owners and ids are whatever clients say. */
  #key(owner: string, id: string): string {
    const name = createHash('sha256')
      .update(JSON.stringify([owner, id]))
      .digest('base64url');
    return `linnet:${this.#model.fingerprint}:response:${name}`;
  }
}
