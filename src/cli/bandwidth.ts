/** What the speed benchmarks of a model say beside their times: memory traffic and the peak of the process. */
import { readBandwidth, weightBytesPerToken } from '../evaluation/speed/memory-traffic.ts';
import type { DecodingModel } from '../export/open-model.ts';
import { storageTypes } from '../export/storage-types.ts';

/** Bytes of weights that one token reads, and what the memory gives. */
export interface Bandwidth {
  readonly weightBytesPerToken: number;
  readonly readBytesPerSecond: number;
  /** What a speed of single-token steps uses of it. */
  share(tokensPerSecond: number): number;
}

/** Measures the memory in the same process as the model. */
export async function measureBandwidth(
  { model, manifest }: Pick<DecodingModel, 'model' | 'manifest'>,
  threads: number | undefined,
): Promise<Bandwidth> {
  const { step } = storageTypes[manifest?.dtype ?? 'f32'];
  const bytes = weightBytesPerToken(model, step, manifest?.block);
  const readBytesPerSecond = await readBandwidth({ threads });
  return {
    weightBytesPerToken: bytes,
    readBytesPerSecond,
    share: (tokensPerSecond) => (bytes * tokensPerSecond) / readBytesPerSecond,
  };
}

/** The most memory that this process has held so far, in bytes. */
export function peakMemoryBytes(): number {
  return 1024 * process.resourceUsage().maxRSS;
}
