/** Costs of a whole process: a model's time to open, and peak memory. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { z } from 'zod';
import type { Checkout } from './checkout.ts';
import { bothVersions, type CaseResult, resultOf, type Samples } from './turns.ts';

const child = fileURLToPath(new URL('open-model.ts', import.meta.url));
const reportSchema = z.strictObject({ openMs: z.number(), peakMiB: z.number() });

/**
 * Time to open, and the peak memory of a process that reads a prompt and decodes some tokens.
 * @param processes per version and turn
 */
export async function processResults(
  checkouts: readonly [Checkout, Checkout],
  models: readonly [string, string],
  turns: number,
  processes: number,
): Promise<CaseResult[]> {
  const [times, peaks] = [0, 1].map(() => Array.from({ length: turns }, (): Samples => [[], []]));
  for (let turn = 0; turn < turns; turn++) {
    for (let i = 0; i < processes; i++) {
      for (const which of bothVersions) {
        const command = ['--import', 'tsx', child, checkouts[which].folder, models[which]];
        const { stdout } = await promisify(execFile)(process.execPath, command);
        const { openMs, peakMiB } = reportSchema.parse(JSON.parse(stdout));
        times[turn][which].push(openMs);
        peaks[turn][which].push(peakMiB);
      }
    }
  }
  return [resultOf({ what: 'time to open', unit: 'ms' }, times), resultOf({ what: 'peak memory', unit: 'MiB' }, peaks)];
}
