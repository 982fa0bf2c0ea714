import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { largestChange } from '../../../test/models/parameter-change.ts';
import { scratchFolder } from '../../../test/scratch-folder.ts';
import { songRows } from '../../../test/cli/text-data.ts';
import { tinyConfig } from '../../../test/models/tiny-model.ts';
import { type HeadsJob, trainedHeads } from '../../../test/training/trained-heads.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { Graph } from '../../graph/graph.ts';
import { tensor } from '../../graph/tensor.ts';
import { describeCausalModel } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { initializeMedusa } from '../../models/medusa/medusa.ts';
import { medusaGraph } from '../../models/medusa/medusa-heads.ts';
import { parallelHidden } from '../../models/graphs/parallel-graph.ts';
import { WeightParameters } from '../../nn/parameters.ts';
import { Random } from '../../random.ts';
import { compile } from '../../runtime/compile.ts';
import { computeHiddenStates, hiddenStatePlace } from './hidden-states.ts';
import { type MedusaTraining, medusaObjective } from './draft-heads.ts';
import { type TrainingInput, parseTrainingSettings } from '../settings.ts';

const plain = describeCausalModel(tinyConfig('llama'));
const augmented = plain.withMixers(plain.mixers.map(() => mixerPreset('augmented', { group: 8, kernel: 9 })));
const medusa: MedusaTraining = { heads: 3, layers: 1, decay: 0.8 };

async function job(input: TrainingInput = {}, extra: Partial<HeadsJob> = {}): Promise<HeadsJob> {
  const settings = { batch: 4, length: 20, steps: 7, learningRate: 1e-2, ...input };
  return {
    model: augmented,
    parameters: initializeParameters(augmented, new Random(3)),
    origin: 'a'.repeat(64),
    dataset: await songRows(),
    settings: parseTrainingSettings(settings),
    medusa,
    ...extra,
  };
}

/** The loss of one batch as the objective's graph has it, and from the heads' logits in float64. */
async function bothLosses(training: MedusaTraining): Promise<{ graph: number; naive: number }> {
  const data = await songRows();
  const parameters = initializeParameters(augmented, new Random(3), 0.3);
  const all = new Map([...parameters, ...initializeMedusa(training, augmented, parameters)]);
  const batch = [0, 5].map((row) => data.row(row));
  const length = 20;
  const flat = (pick: 'inputs' | 'labels'): Int32Array => Int32Array.from(batch.flatMap((row) => [...row[pick]]));
  const weights = Float32Array.from({ length: 2 * length }, (_, i) => (i % 7 === 3 ? 0 : 1));
  const graph = new Graph('loss');
  const shape = [2, length];
  const values = {
    inputs: graph.input('inputs', 'int32', shape),
    labels: graph.input('labels', 'int32', shape),
    weights: graph.input('weights', 'float32', shape),
  };
  const source = new WeightParameters(graph, all);
  graph.output('loss', medusaObjective(training, augmented, length).loss(source, values));
  graph.output('hidden', parallelHidden(augmented, source, values.inputs));
  await using program = await compile(graph);
  const feeds = {
    inputs: tensor('int32', shape, flat('inputs')),
    labels: tensor('int32', shape, flat('labels')),
    weights: tensor('float32', shape, weights),
  };
  const { loss, hidden } = await program.run(feeds, ['loss', 'hidden']);
  await using heads = await compile(
    medusaGraph(training, augmented.sizes, (graph) => new WeightParameters(graph, all)),
  );
  const V = augmented.sizes.vocabulary;
  const states = tensor('float32', [2 * length, augmented.sizes.width], Float32Array.from(hidden.data, Number));
  const { logits } = await heads.run({ hidden: states }, ['logits']);
  let naive = 0;
  for (let head = 0; head < training.heads; head++) {
    for (let at = 0; at < 2 * length; at++) {
      const target = at + head + 1;
      if (Math.floor(target / length) !== Math.floor(at / length)) continue;
      const place = (head * 2 * length + at) * V;
      const scores = Array.from({ length: V }, (_, token) => Number(logits.data[place + token]));
      const total = Math.log(scores.reduce((sum, score) => sum + Math.exp(score), 0));
      naive += training.decay ** (head + 1) * weights[target] * (total - scores[feeds.labels.data[target]]);
    }
  }
  return { graph: Number(loss.data[0]), naive };
}

describe('training of Medusa heads', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await scratchFolder();
  });

  it('minimises what the formula says', async () => {
    const { graph, naive } = await bothLosses(medusa);
    expect(graph / naive).toBeCloseTo(1, 5);
  });

  it.each([
    ['softmax', plain],
    ['augmented', augmented],
  ])('lowers the loss and leaves a frozen %s model alone', async (_name, model) => {
    const losses: number[] = [];
    const start = await job({ steps: 40 }, { model, parameters: initializeParameters(model, new Random(3), 0.3) });
    const outcome = await trainedHeads({ ...start, onUpdate: ({ loss }) => void losses.push(loss) });
    expect(outcome).toMatchObject({ finished: true, updates: 40 });
    expect(losses.at(-1)).toBeLessThan(0.6 * losses[0]);
    expect(largestChange(outcome.base, start.parameters)).toBe(0);
    expect(outcome.heads.size).toBe(9);
  });

  it('gives the same heads wherever hidden states are kept', async () => {
    const [memory, disk, recompute] = await Promise.all(
      (['memory', 'disk', 'recompute'] as const).map(async (hiddenStates) =>
        trainedHeads(await job({}, { hiddenStates, hiddenStateFolder: folder })),
      ),
    );
    expect(largestChange(memory.heads, disk.heads)).toBe(0);
    expect(largestChange(memory.heads, recompute.heads)).toBeLessThan(1e-3);
  });

  it.each([1, 3, 4])('stopped after update %i and resumed equals the unbroken run, bit for bit', async (stopAt) => {
    const unbroken = await trainedHeads(await job());
    const abort = new AbortController();
    const snapshots = { folder: join(folder, 'snapshots'), every: 3 };
    const kept = { hiddenStates: 'disk', hiddenStateFolder: folder, snapshots } as const;
    const onUpdate = ({ update }: { update: number }): void => {
      if (update === stopAt) abort.abort();
    };
    const stopped = await trainedHeads(await job({}, { ...kept, signal: abort.signal, onUpdate }));
    expect(stopped).toMatchObject({ finished: false, updates: stopAt });
    const resumed = await trainedHeads(await job({}, kept));
    expect(largestChange(unbroken.heads, resumed.heads)).toBe(0);
  });

  it('refuses to resume on another model or with another decay', async () => {
    const snapshots = { folder, every: 2 };
    await trainedHeads(await job({ steps: 2 }, { snapshots }));
    const others: Partial<HeadsJob>[] = [{ origin: 'b'.repeat(64) }, { medusa: { ...medusa, decay: 0.5 } }];
    for (const other of others) {
      await expect(trainedHeads(await job({ steps: 2 }, { snapshots, ...other }))).rejects.toMatchObject({
        code: 'MISMATCH',
      });
    }
  });

  it('moves the model too when joint, at a rate of its own', async () => {
    const settings = { steps: 1, clip: 0, warmup: 0, schedule: 'constant' } as const;
    const start = await job(settings);
    const moved = async (rateFactor: number): Promise<number> => {
      const joint = { weight: 0.2, rateFactor };
      const outcome = await trainedHeads(await job(settings, { medusa: { ...medusa, joint } }));
      return largestChange(outcome.base, start.parameters);
    };
    // The first step of AdamW is the rate itself, whatever the gradient.
    expect(await moved(0.25)).toBeCloseTo(0.0025, 5);
    expect(await moved(1)).toBeCloseTo(0.01, 5);
    expect(await moved(0)).toBe(0);
  });

  it('refuses rows too short for the heads', async () => {
    const short = { batch: 1, length: 3, steps: 1 };
    await expect(trainedHeads(await job(short, { dataset: await songRows(3) }))).rejects.toMatchObject({
      code: 'CONFIG',
    });
  });
});

describe('hidden states', () => {
  it('are kept where that pays', () => {
    const data = { rows: 100, length: 10 };
    expect(hiddenStatePlace(data, 8, 100)).toBe('recompute');
    expect(hiddenStatePlace(data, 8, 101, 4 * 32_000)).toBe('memory');
    expect(hiddenStatePlace(data, 8, 101, 4 * 32_000 - 1)).toBe('disk');
  });

  it('on disk are used again for the same model and rows only, and replaced when damaged', async () => {
    const folder = await scratchFolder();
    const parameters = initializeParameters(augmented, new Random(3));
    const dataset = await songRows();
    const compute = async (fingerprint: string): Promise<{ runs: number; numbers: Float32Array }> => {
      let runs = 0;
      const numbers = new Float32Array(20 * 16);
      const options = { model: augmented, parameters, dataset, place: 'disk', folder, fingerprint } as const;
      const states = await computeHiddenStates({ ...options, onProgress: () => runs++ });
      await states.copyRow(dataset.rows - 1, numbers);
      await states[Symbol.asyncDispose]();
      return { runs, numbers };
    };
    const first = await compute('a');
    expect(first.runs).toBe(1);
    expect(first.numbers.some((value) => value !== 0)).toBe(true);
    expect(await compute('a')).toEqual({ runs: 0, numbers: first.numbers });
    expect((await compute('b')).runs).toBe(1);
    const [file] = await readdir(folder);
    await writeFile(join(folder, file), 'torn');
    expect(await compute('b')).toEqual({ runs: 1, numbers: first.numbers });
  });
});
