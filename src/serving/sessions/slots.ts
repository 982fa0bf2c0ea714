/**
 * Slots as llama.cpp's server has them: numbered places for texts. A request that names its slot goes on from the text of
 * that slot, which can be saved, restored and erased. The texts of each API key are its own.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { SavedSession } from '../../decoding/state/session-format.ts';
import type { TextModel } from '../../engine/text-model.ts';
import { LinnetError } from '../../errors.ts';
import { writeFileAtomic } from '../../files/atomic.ts';
import { readRegularFile } from '../../files/regular-file.ts';
import type { Redis } from '../../redis/client.ts';
import { redisAnswer } from './redis-store.ts';
import { untilFired } from './sessions.ts';

/** Session files of slots under names that are no paths. */
export interface SlotFiles {
  write(name: string, bytes: Uint8Array): Promise<unknown>;
  /** @throws LinnetError `NOT_FOUND` without one of the name */
  read(name: string): Promise<Uint8Array>;
}

export function folderSlots(folder: string, mostBytes: number): SlotFiles {
  return {
    async write(name, bytes) {
      await mkdir(folder, { recursive: true });
      await writeFileAtomic(join(folder, name), bytes);
    },
    read: (name) => readRegularFile(join(folder, name), mostBytes),
  };
}

/** Seconds that a slot stays in Redis after it was last saved or restored. */
const timeToLive = 86_400;

/** The connection stays the caller's. */
export function redisSlots(redis: Redis, { fingerprint }: TextModel): SlotFiles {
  const keyOf = (name: string): string => `linnet:${fingerprint}:slot:${name}`;
  return {
    write: (name, bytes) => redisAnswer(keyOf(name), redis.set(keyOf(name), Buffer.from(bytes), 'EX', timeToLive)),
    async read(name) {
      const bytes = await redisAnswer(keyOf(name), redis.getexBuffer(keyOf(name), 'EX', timeToLive));
      if (bytes === null) throw new LinnetError('NOT_FOUND', `there is no saved slot ${name}`);
      return bytes;
    },
  };
}

/** A slot while a request works on it. */
export interface SlotTurn {
  readonly id: number;
  /** The text of a slot that was named. */
  readonly content: SavedSession | undefined;
  /** Keeps a text in a slot that was named; another forgets it. */
  readonly keep: (content: SavedSession) => void;
}

export class Slots {
  readonly count: number;
  readonly files: SlotFiles | undefined;
  readonly #contents = new Map<string, SavedSession>();
  readonly #busy: number[];

  constructor(count: number, files?: SlotFiles) {
    this.count = count;
    this.files = files;
    this.#busy = Array.from({ length: count }, () => 0);
  }

  isBusy(id: number): boolean {
    return this.#busy[id] > 0;
  }

  /**
   * @param asked −1 takes the first slot that is idle
   * @param signal fired at the end of the turn
   */
  take(owner: string, asked: number, signal: AbortSignal): SlotTurn {
    const id = asked >= 0 ? asked : Math.max(0, this.#busy.indexOf(0));
    untilFired(signal, () => this.#busy[id]--);
    this.#busy[id]++;
    return {
      id,
      content: asked >= 0 ? this.get(owner, id) : undefined,
      keep: (content) => {
        if (asked >= 0) this.set(owner, id, content);
      },
    };
  }

  get(owner: string, id: number): SavedSession | undefined {
    return this.#contents.get(`${owner} ${id}`);
  }

  /** @param content undefined empties the slot */
  set(owner: string, id: number, content: SavedSession | undefined): void {
    if (content === undefined) this.#contents.delete(`${owner} ${id}`);
    else this.#contents.set(`${owner} ${id}`, content);
  }
}
