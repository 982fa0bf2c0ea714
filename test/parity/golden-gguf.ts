/** Tiny GGUF models and what llama.cpp computes from their exact weights: a part is in the repository, all are among the fixtures. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { golden, thirdParty } from '../fixtures.ts';

const sequence = z.object({
  probabilities: z.array(z.number()).optional(),
  greedy: z.array(z.int()).optional(),
  rows: z.union([z.literal('first'), z.literal('all'), z.array(z.array(z.number()))]).optional(),
});

const schema = z.object({
  architecture: z.string(),
  type: z.string(),
  sequences: z.array(
    z.object({
      ids: z.array(z.int()),
      exact: sequence,
      float64: sequence.loose().optional(),
      float64Erf: z.looseObject({ mean: z.array(z.number()) }).optional(),
    }),
  ),
});

export type ExpectedGguf = z.infer<typeof schema>;

/** The folder of a case; undefined where it is absent. */
export function goldenGguf(name: string): string | undefined {
  const own = join(golden('gguf'), name);
  return existsSync(own) ? own : thirdParty(`golden-gguf/${name}`);
}

/** The expectations of a case. */
export function expectedGguf(folder: string): ExpectedGguf {
  return schema.parse(JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')));
}
