import { describe, expect, it } from 'vitest';
import { songRows } from '../../test/cli/text-data.ts';
import { largestChange } from '../../test/models/parameter-change.ts';
import { tinyConfig } from '../../test/models/tiny-model.ts';
import { describeCausalModel } from '../models/families/index.ts';
import { initializeParameters } from '../models/initialize.ts';
import { Random } from '../random.ts';
import { compile } from '../runtime/compile.ts';
import { causalObjective } from './objectives/next-token.ts';
import { type ProgramJob, type StepResult, compileTraining, type TrainingState } from './step-program.ts';
import { startingState } from './updates.ts';
import { parseTrainingSettings } from './settings.ts';

const model = describeCausalModel(tinyConfig('llama'));
const parameters = initializeParameters(model, new Random(3));
const objective = causalObjective(model, 20);
const isTrained = (name: string): boolean => !name.includes('mlp');

/** Three optimizer steps of two rows each, in which half of the rates count and matrices decay. */
async function threeSteps(
  changes: Partial<ProgramJob>,
): Promise<{ state: TrainingState; results: StepResult[]; names: readonly string[] }> {
  const dataset = await songRows();
  const job = {
    model,
    objective,
    parameters,
    settings: parseTrainingSettings({ length: 20, batch: 2, clip: 0.5, weightDecay: 0.1 }),
    trainable: isTrained,
    rateFactor: (name: string) => (name.includes('embed') ? 0.5 : 1),
  };
  await using program = await compileTraining({ ...job, blockBytes: 4096, ...changes }, compile);
  const state = startingState({ ...job, dataset }, program);
  const results: StepResult[] = [];
  for (let update = 0; update < 3; update++) {
    const visits = [2 * update, 2 * update + 1].map((row) => ({ row, epoch: 0 }));
    results.push(await program.step(state, [dataset.batch(visits)], 1e-2, update));
  }
  return { state, results, names: program.blocks.map(({ name }) => name) };
}

describe('an optimizer step of many parameters', () => {
  it('that updates block by block equals the step in one graph', async () => {
    const fused = await threeSteps({});
    const split = await threeSteps({ fusedBytes: 0 });
    expect(split.names.some((name) => name.includes('#'))).toBe(true);
    for (const [i, { loss, gradientNorm }] of fused.results.entries()) {
      expect(split.results[i].loss).toBeCloseTo(loss, 5);
      expect(split.results[i].gradientNorm).toBeCloseTo(gradientNorm, 5);
    }
    for (const part of ['parameters', 'first', 'second'] as const) {
      expect([...split.state[part].keys()]).toEqual([...fused.state[part].keys()]);
      expect(largestChange(split.state[part], fused.state[part]), part).toBeLessThan(2e-6);
    }
  });

  it('reads frozen parameters where they lie, or keeps them in the program', async () => {
    const read = await threeSteps({});
    const kept = await threeSteps({ keepFrozen: true });
    expect(largestChange(kept.state.parameters, read.state.parameters)).toBeLessThan(2e-6);
  });
});
