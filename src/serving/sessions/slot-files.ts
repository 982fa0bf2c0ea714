/** Where slots are saved: files of a folder, or values in Redis, which any server of the model restores. */
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  decodeSession,
  encodeSession,
  restoreSession,
  type SavedSession,
  saveSession,
} from '../../decoding/state/session-file.ts';
import { LinnetError } from '../../errors.ts';
import type { Redis } from '../../redis/client.ts';
import type { TextModel } from '../../engine/text-model.ts';
import { StoreUnavailableError } from './session-store.ts';

/** Keeps saved slots under names that are no paths. */
export interface SlotFiles {
  /** Returns how many bytes were written. */
  write(name: string, session: SavedSession): Promise<number>;
  /** @throws LinnetError `NOT_FOUND` without one of the name, `FORMAT` or `MISMATCH` for one that is damaged or of another model */
  read(name: string): Promise<{ readonly session: SavedSession; readonly bytes: number }>;
}

/** Slots as session files of a folder. */
export function folderSlotFiles(folder: string, { engine, fingerprint }: TextModel): SlotFiles {
  return {
    async write(name, session) {
      await mkdir(folder, { recursive: true });
      const path = join(folder, name);
      await saveSession(path, { ...session, fingerprint });
      return (await stat(path)).size;
    },
    async read(name) {
      const path = join(folder, name);
      return { session: await restoreSession(path, engine, fingerprint), bytes: (await stat(path)).size };
    },
  };
}

/** Seconds that a slot stays in Redis after it was last saved or restored. */
const timeToLive = 86_400;

/** The same bytes in Redis. The connection is the caller's. */
export function redisSlotFiles(redis: Redis, { engine, fingerprint }: TextModel): SlotFiles {
  const keyOf = (name: string): string => `linnet:${fingerprint}:slot:${name}`;
  return {
    async write(name, session) {
      const { buffer, byteOffset, byteLength } = encodeSession({ ...session, fingerprint });
      const bytes = Buffer.from(buffer, byteOffset, byteLength);
      await answered(redis.set(keyOf(name), bytes, 'EX', timeToLive));
      return bytes.length;
    },
    async read(name) {
      const bytes = await answered(redis.getexBuffer(keyOf(name), 'EX', timeToLive));
      if (bytes === null) throw new LinnetError('NOT_FOUND', `there is no saved slot ${name}`);
      return { session: await decodeSession(bytes, engine, fingerprint, `slot ${name}`), bytes: bytes.length };
    },
  };
}

/** @throws StoreUnavailableError where Redis does not answer */
async function answered<T>(asked: Promise<T>): Promise<T> {
  try {
    return await asked;
  } catch (cause) {
    throw new StoreUnavailableError(cause);
  }
}
