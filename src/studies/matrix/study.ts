/** The support matrix: which mixer works in which family, found by running every one in a tiny model with random weights. */
import { z } from 'zod';
import { LinnetError } from '../../errors.ts';
import { describeSoftware } from '../../report/provenance.ts';
import { type StudyDefinition, trialIdentity } from '../frame/study.ts';
import { type CellPlace, type CellResult, cellResult, supportCell, supportMixers } from './cells.ts';
import { type SupportProbe, supportProbes } from './probes.ts';
import { reportMatrix } from './report.ts';

const planSchema = z.strictObject({
  version: z.literal(1).default(1),
  families: z.array(z.string()).optional().describe('families of models (default: all)'),
  mixers: z.array(z.string()).optional().describe('names of presets (default: all)'),
  seed: z.int().min(0).default(1).describe('of weights and texts'),
});

type Plan = z.output<typeof planSchema>;
type Cell = CellPlace & { readonly probe: SupportProbe; readonly seed: number };

export const matrixStudy: StudyDefinition<Plan, Cell, CellPlace, CellResult> = {
  name: 'matrix',
  description:
    'Runs every mixer, with and without the masked convolution, in a tiny random model of every family and direction: forwards ' +
    '(a padded row must have the logits of the row alone), backwards (gradients against finite differences) and, where the ' +
    'attention is causal, decoding (steps and trees against the parallel form). "–" is what cannot exist. Exit code 1 if ' +
    'something does not work. support.md in the output folder is the page docs/reference/support.md.',
  examples: [
    'linnet study matrix --out runs/matrix',
    `linnet study matrix --set 'families=["llama"]' --set 'mixers=["augmented"]' --json`,
  ],
  plan: planSchema,
  measured: cellResult,
  async load({ families, mixers = supportMixers(), seed }) {
    requireKnown(
      'family',
      families ?? [],
      supportProbes.map(({ family }) => family),
    );
    requireKnown('mixer', mixers, supportMixers());
    const probes = supportProbes.filter(({ family }) => families?.includes(family) ?? true);
    const trials = probes.flatMap((probe) =>
      mixers.flatMap((mixer) =>
        [false, true].map((convolution): Cell => {
          return { family: probe.family, direction: probe.direction, mixer, convolution, probe, seed };
        }),
      ),
    );
    return { trials };
  },
  place: ({ family, direction, mixer, convolution }) => ({ family, direction, mixer, convolution }),
  identity: ({ probe: _, ...cell }) => trialIdentity(cell, describeSoftware()),
  run: ({ probe, ...cell }, { compile }) => supportCell(probe, cell, { seed: cell.seed, compile }),
  figures: ({ maxError }): Record<string, number> => (maxError === null ? {} : { error: maxError }),
  report: reportMatrix,
};

function requireKnown(what: string, given: readonly string[], known: readonly string[]): void {
  const unknown = given.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new LinnetError('CONFIG', `there is no ${what} "${unknown}"; expected ${[...new Set(known)].join(', ')}`);
}
