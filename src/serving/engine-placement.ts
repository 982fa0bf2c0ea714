/** Where the engine of a server computes: on the thread that answers, or on one of its own. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** Names of `serve --engine`. */
export const enginePlacements = ['auto', 'thread', 'inline'] as const;

/**
 * Bytes of weights up to which a step is over before messages between threads are (a millisecond or two a token), and
 * before a second thread of the engine has helped: it waits actively, on the core that answers.
 */
const smallWeights = 16 * 2 ** 20;

export interface EnginePlacement {
  readonly worker: boolean;
  /** Threads of the engine; undefined stands for its default. */
  readonly threads: number | undefined;
}

/**
 * @param folder of a model, or of an export
 * @param wanted `auto`: models of at most 16 MiB inline with one thread, others in a thread of their own
 * @param threads requested number; kept in any case
 */
export async function placeEngine(
  folder: string,
  wanted: (typeof enginePlacements)[number],
  threads: number | undefined,
): Promise<EnginePlacement> {
  if (wanted !== 'auto') return { worker: wanted === 'thread', threads };
  const isSmall = (await weightBytes(folder)) <= smallWeights;
  return { worker: !isSmall, threads: threads ?? (isSmall ? 1 : undefined) };
}

/** Bytes of the files of weights in a folder; 0 if it cannot be read, which opening it will say better. */
async function weightBytes(folder: string): Promise<number> {
  const names = await readdir(folder).catch(() => []);
  const sizes = names
    .filter((name) => /\.(safetensors|data)$/.test(name))
    .map(async (name) => (await stat(join(folder, name))).size);
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
