/**
 * What a decoding step and a training step cost in another checkout of this repository against this one. The two take turns in
 * one process, so that a machine whose speed drifts, or that others use too, treats both alike; ratios are of medians.
 *
 *   git worktree add --detach ../linnet-before COMMIT && ln -s "$PWD/node_modules" ../linnet-before/
 *   npx tsx bench/versions.ts ../linnet-before MODEL… [--contexts 64,4096] [--steps 500] [--widths 256,512] [--turns 5]
 *
 * Both must share `node_modules`: the native runtime can be loaded only once. Files and functions named below are all that the
 * other checkout must have.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type * as LoadModel from '../src/checkpoint/load-model.ts';
import type * as Engine from '../src/decoding/engine.ts';
import type * as DecodingSpeed from '../src/evaluation/speed/decoding-speed.ts';
import type * as TrainingSpeed from '../src/evaluation/speed/training-speed.ts';
import type * as Families from '../src/models/index.ts';
import { mixerPreset } from '../src/attention/presets.ts';
import { median } from '../src/evaluation/speed/timing.ts';
import { Random } from '../src/random.ts';
import { makeTable, textTable } from '../src/report/table.ts';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    contexts: { type: 'string', default: '64,4096' },
    steps: { type: 'string', default: '500' },
    widths: { type: 'string', default: '256,512' },
    turns: { type: 'string', default: '5' },
  },
});
const numbers = (list: string): number[] => (list === '' ? [] : list.split(',').map(Number));
const [steps, turns] = [values.steps, values.turns].map(Number);
const compile = { device: 'cpu', threads: 2 } as const;

/** What is used of a checkout, by its files. */
interface Version {
  readonly loadModel: typeof LoadModel;
  readonly engine: typeof Engine;
  readonly decodingSpeed: typeof DecodingSpeed;
  readonly trainingSpeed: typeof TrainingSpeed;
  readonly families: typeof Families;
}

async function version(folder: string): Promise<Version> {
  // What another checkout exports is known when it is used, not before: the types are those of this one.
  const part = (...files: string[]): Promise<never> => {
    const paths = files.map((file) => resolve(folder, 'src', file));
    return import(pathToFileURL(paths.find((path) => existsSync(path)) ?? paths[0]).href) as Promise<never>;
  };
  return {
    loadModel: await part('checkpoint/load-model.ts'),
    engine: await part('decoding/engine.ts'),
    decodingSpeed: await part('evaluation/speed/decoding-speed.ts'),
    trainingSpeed: await part('evaluation/speed/training-speed.ts'),
    families: await part('models/index.ts', 'models/families.ts'), // the latter in older ones
  };
}

interface Row {
  readonly what: string;
  readonly before: number;
  readonly now: number;
  readonly unit: string;
  /** Speed of this checkout over that of the other. */
  readonly ratio: number;
}

/** Median times of single tokens; a state of each version and context, step by step in turn. */
async function decoding(versions: readonly Version[], model: string, contexts: readonly number[]): Promise<Row[]> {
  const engines = await Promise.all(
    versions.map(async ({ loadModel, engine }) => {
      const loaded = await loadModel.loadCausalModel(model);
      return engine.DecodingEngine.create(loaded.model, loaded.parameters, compile);
    }),
  );
  const cases = contexts.map((context) =>
    engines.map((engine, which) => {
      const state = engine.newState();
      versions[which].decodingSpeed.fillState(state, context, new Random(1));
      return { engine, state, ms: new Array<number>() };
    }),
  );
  for (let step = -warmUp; step < steps; step++) {
    for (const subjects of cases) {
      for (const { engine, state, ms } of step % 2 === 0 ? subjects : [...subjects].reverse()) {
        const started = performance.now();
        await engine.advance(state, Math.abs(step) % engine.model.sizes.vocabulary);
        if (step >= 0) ms.push(performance.now() - started);
      }
    }
  }
  for (const engine of engines) await engine.dispose();
  return cases.map((subjects, index) => {
    const [before, now] = subjects.map(({ ms }) => median(ms));
    return { what: `${model}, one token at ${contexts[index]}`, before, now, unit: 'ms', ratio: before / now };
  });
}

/** Share of the machine's peak of whole training steps of two layers, as `linnet bench train` takes it. */
async function training(versions: readonly Version[], mixer: string, width: number): Promise<Row> {
  const shares = versions.map((): number[] => []);
  for (let turn = 0; turn < turns; turn++) {
    for (const which of turn % 2 === 0 ? [0, 1] : [1, 0]) {
      const { families, trainingSpeed } = versions[which];
      const plain = families.describeCausalModel({
        ...{ model_type: 'llama', vocab_size: 512, hidden_size: width, intermediate_size: 3 * width },
        ...{ num_hidden_layers: 2, num_attention_heads: width / 64, max_position_embeddings: 1024 },
        tie_word_embeddings: true,
      });
      const model = plain.withMixers(plain.mixers.map(() => mixerPreset(mixer)));
      const { shareOfCeiling } = await trainingSpeed.trainingSpeed(model, { rows: 4, length: 1024, runs: 3, compile });
      shares[which].push(shareOfCeiling);
    }
  }
  const [before, now] = shares.map(median);
  return { what: `training step, ${mixer}, width ${width}`, before, now, unit: 'of the peak', ratio: now / before };
}

/** Steps that are not timed: the runtime's arenas grow in the first. */
const warmUp = 100;

const [other, ...models] = positionals;
if (other === undefined) throw new Error('give the folder of another checkout, and models to decode with');
const versions = [await version(other), await version('.')];
const rows: Row[] = [];
for (const model of models) rows.push(...(await decoding(versions, model, numbers(values.contexts))));
for (const width of numbers(values.widths)) {
  for (const mixer of ['softmax', 'augmented']) rows.push(await training(versions, mixer, width));
}
const three = (value: number): string => value.toFixed(3);
const table = makeTable<Row>(
  [
    { header: 'what', value: ({ what }) => what },
    { header: 'before', value: ({ before }) => before, format: three },
    { header: 'now', value: ({ now }) => now, format: three },
    { header: 'unit', value: ({ unit }) => unit },
    { header: 'now is faster by', value: ({ ratio }) => ratio, format: three },
  ],
  rows,
);
process.stdout.write(`${textTable(table)}\n`);
