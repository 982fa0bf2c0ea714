/** Heads of a T5: how they start, and are trained on pairs. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { augmentedT5, medusa, pairHeadsJob, songPairs } from '../../../test/models/t5-heads.ts';
import { largestChange } from '../../../test/models/parameter-change.ts';
import { suiteFolder } from '../../../test/scratch-folder.ts';
import { trainedPairHeads } from '../../../test/training/trained-heads.ts';
import { TextPairDataset } from '../../data/datasets/sequence-pairs.ts';
import { Graph } from '../../graph/graph.ts';
import { tensor } from '../../graph/tensor.ts';
import { MedusaHeads, medusaGraph } from '../../models/medusa/medusa-heads.ts';
import { initializeMedusa } from '../../models/medusa/medusa.ts';
import { WeightParameters } from '../../nn/parameters.ts';
import { compile } from '../../runtime/compile.ts';
import { byteTokenizer } from '../../tokenizer/bytes.ts';
import { pairMedusaObjective } from './draft-heads.ts';

describe.each([true, false])('heads of a T5 whose head is tied: %s', (tied) => {
  const { model, parameters } = augmentedT5({ tie_word_embeddings: tied });

  it('start as the head of the model', async () => {
    const fresh = initializeMedusa(medusa, model, parameters);
    const graph = new Graph('head');
    const hidden = tensor(
      'float32',
      [2, 16],
      Float32Array.from({ length: 32 }, (_, i) => Math.sin(i)),
    );
    const source = new WeightParameters(graph, parameters);
    graph.output('logits', model.head(source, graph.input('hidden', 'float32', [2, 16])));
    await using program = await compile(graph);
    const { logits } = await program.run({ hidden }, ['logits']);
    await using heads = await MedusaHeads.create(medusa, model.sizes, fresh);
    const found = await heads.logits(hidden.data);
    const expected = Array.from(logits.data, Number);
    expected.forEach((value, i) => {
      for (let head = 0; head < 3; head++) expect(found.data[head * expected.length + i]).toBeCloseTo(value, 4);
    });
  });

  it('minimise what the formula says', async () => {
    const all = new Map([...parameters, ...initializeMedusa(medusa, model, parameters)]);
    const dataset = songPairs(model);
    const batch = dataset.batch([0, 3].map((row) => ({ row, epoch: 0 })));
    const graph = new Graph('loss');
    const values = Object.fromEntries(
      Object.entries(batch).map(([name, { dtype, shape }]) => [name, graph.input(name, dtype, shape)]),
    );
    const source = new WeightParameters(graph, all);
    graph.output('loss', pairMedusaObjective(medusa, model, dataset.lengths).loss(source, values));
    const encoded = model.encode(source, { tokens: values.source, mask: values.sourceMask });
    const decoded = model.decode(source, { tokens: values.inputs, encoded, encodedMask: values.sourceMask });
    graph.output('hidden', decoded);
    await using program = await compile(graph);
    const { loss, hidden } = await program.run(batch, ['loss', 'hidden']);
    await using heads = await compile(medusaGraph(medusa, model.sizes, (made) => new WeightParameters(made, all)));
    const m = dataset.lengths.target;
    const states = tensor('float32', [2 * m, model.sizes.width], Float32Array.from(hidden.data, Number));
    const { logits } = await heads.run({ hidden: states }, ['logits']);
    const V = model.sizes.vocabulary;
    let naive = 0;
    for (let head = 0; head < medusa.heads; head++) {
      for (let at = 0; at < 2 * m; at++) {
        const target = at + head + 1;
        if (Math.floor(target / m) !== Math.floor(at / m)) continue;
        const start = (head * 2 * m + at) * V;
        const total = Math.log(
          Array.from({ length: V }, (_, id) => Math.exp(Number(logits.data[start + id]))).reduce((a, b) => a + b),
        );
        const truth = Number(logits.data[start + batch.labels.data[target]]);
        naive += medusa.decay ** (head + 1) * batch.weights.data[target] * (total - truth);
      }
    }
    expect(Number(loss.data[0]) / naive).toBeCloseTo(1, 5);
  });
});

describe('training heads of a T5', () => {
  const place = suiteFolder();

  it('lowers the loss and leaves the model alone, unless joint', async () => {
    const losses: number[] = [];
    const start = pairHeadsJob({ steps: 40 });
    const outcome = await trainedPairHeads({ ...start, onUpdate: ({ loss }) => void losses.push(loss) });
    expect(losses.at(-1)).toBeLessThan(0.6 * losses[0]);
    expect(largestChange(outcome.base, start.parameters)).toBe(0);
    expect(outcome.heads.size).toBe(9);
    const joint = { ...medusa, joint: { weight: 0.2, rateFactor: 0.25 } };
    const settings = { steps: 1, clip: 0, warmup: 0, schedule: 'constant' } as const;
    const moved = await trainedPairHeads(pairHeadsJob(settings, { medusa: joint }));
    // The first step of AdamW is the rate itself, whatever the gradient.
    expect(largestChange(moved.base, start.parameters)).toBeCloseTo(0.0025, 5);
  });

  it('stopped and resumed equals the unbroken run, bit for bit', async () => {
    const unbroken = await trainedPairHeads(pairHeadsJob());
    const abort = new AbortController();
    const snapshots = { folder: join(place, 'snapshots'), every: 2 };
    const onUpdate = ({ update }: { update: number }): void => {
      if (update === 3) abort.abort();
    };
    const stopped = await trainedPairHeads(pairHeadsJob({}, { snapshots, signal: abort.signal, onUpdate }));
    expect(stopped).toMatchObject({ finished: false, updates: 3 });
    const resumed = await trainedPairHeads(pairHeadsJob({}, { snapshots }));
    expect(largestChange(unbroken.heads, resumed.heads)).toBe(0);
  });

  it('refuses targets too short for the heads', async () => {
    const { model } = augmentedT5();
    const short = new TextPairDataset([{ source: 'a', target: 'b' }], byteTokenizer(), {
      length: 40,
      startId: model.startId,
    });
    await expect(trainedPairHeads(pairHeadsJob({ batch: 1 }, { dataset: short }))).rejects.toMatchObject({
      code: 'CONFIG',
    });
  });
});
