/** Random numbers for one visit to one row: a function of seed, pass and row, so that a resumed run draws the same. */
import { Random } from '../../random.ts';
import type { RowVisit } from './row-dataset.ts';

/** A generator for one visit. Hashes each part into a word of its own: otherwise neighboring seeds would share draws. */
export function visitRandom(seed: number, { row, epoch }: RowVisit): Random {
  const ofSeed = new Random(seed).nextUint32();
  const ofEpoch = new Random(ofSeed + epoch).nextUint32();
  return new Random(ofEpoch + row);
}
