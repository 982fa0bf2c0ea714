/** Medusa heads' candidate trees in files: their schema and checks. Also runs in browsers. */
import { z } from 'zod';
import { treeFromPaths } from '../attention/tree.ts';
import { LinnetError, reasonOf } from '../errors.ts';
import { parseJson } from '../files/json-object.ts';
import { validated } from '../files/schema-problems.ts';
import { medusaLimits } from '../models/medusa/medusa.ts';
import { positiveNumber, whole } from '../files/schema-values.ts';

/** More nodes than any known machine can verify profitably in a step. */
const maximumNodes = 1023;
/** Highest rank that a tree may ask a head for. */
export const maximumRank = 255;

export const medusaTreeSchema = z.strictObject({
  /** Rank paths without the root; includes every path's prefixes. */
  paths: z
    .array(z.array(whole(0, maximumRank)).min(1).max(medusaLimits.heads))
    .min(1)
    .max(maximumNodes),
  /** How the tree was found. */
  method: z.enum(['stock', 'greedy', 'dynamic', 'observed', 'given']),
  /** Expected tokens per step by calibration, the root included. */
  expectedLength: z.number().min(1).optional(),
  /** Its gain over sequential decoding, from that length and the step times of the machine it was tuned on. */
  expectedSpeedup: positiveNumber.optional(),
});

/** A candidate tree as stored. */
export type MedusaTree = z.infer<typeof medusaTreeSchema>;

/** Refuses malformed trees, and nodes that no head can fill. @throws LinnetError `FORMAT` */
export function checkMedusaTree(
  paths: readonly (readonly number[])[],
  heads: number,
  vocabulary: number,
  source: string,
): void {
  const outside = paths.find((path) => path.length > heads || path.some((rank) => rank >= vocabulary));
  if (outside !== undefined) {
    throw new LinnetError(
      'FORMAT',
      `${source}: rank path [${outside.join(',')}] exceeds ${heads} heads over ${vocabulary} tokens`,
    );
  }
  try {
    treeFromPaths(paths);
  } catch (cause) {
    throw new LinnetError('FORMAT', `${source}: ${reasonOf(cause)}`, { cause });
  }
}

/**
 * A tree file's rank paths: a JSON array of paths as Medusa writes them, or an object with `paths`.
 * @throws LinnetError `FORMAT` for anything else, and for paths that make no tree
 */
export function parseTreeFile(text: string, source: string): number[][] {
  const value = parseJson(text, source);
  const { paths } = medusaTreeSchema.shape;
  const schema = z.union([paths, z.object({ paths }).transform((tree) => tree.paths)]);
  const tree = validated(schema, value, 'FORMAT', `${source} is not a list of rank paths such as [[0],[1],[0,0]]`);
  checkMedusaTree(tree, medusaLimits.heads, maximumRank + 1, source);
  return tree;
}
