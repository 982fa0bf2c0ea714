/** Memory traffic and the peak memory of the process, which speed benchmarks report next to their times. */
import { weightBytesPerToken } from '../../evaluation/speed/memory-traffic.ts';
import { storageTypes } from '../../export/storage-types.ts';
import type { RunningModel } from '../../open/running-model.ts';

/** Bytes of weights that one token reads, of a model as it is stored. */
export function storedBytesPerToken({
  model,
  manifest,
}: Pick<RunningModel, 'model'> & Partial<Pick<RunningModel, 'manifest'>>): number {
  return weightBytesPerToken(model, storageTypes[manifest?.dtype ?? 'f32'].step, manifest?.block);
}

/** The most memory that this process has held so far, in bytes: ask before the bandwidth is measured, which takes 256 MB. */
export function peakMemoryBytes(): number {
  return 1024 * process.resourceUsage().maxRSS;
}
