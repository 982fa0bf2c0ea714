/** Places a server's engine on the answering thread or on a separate one. */
import { weightBytes } from '../checkpoint/weight-bytes.ts';

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
 * @param folder a model's or export's folder, or a GGUF file
 * @param wanted `auto`: models of at most 16 MiB inline with one thread, others in a separate thread
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
