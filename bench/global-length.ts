/**
 * The value of the global branch at and beyond the training length: linearizes a softmax checkpoint in several ways,
 * trains each the same on rows of LENGTH tokens, and measures perplexity on held-out text in windows of 1, 2 and 8 times LENGTH.
 * `mixed` rows have a quarter, a half, one and two times LENGTH tokens. See docs/decisions/fade.md for the result.
 *
 *   npx tsx bench/global-length.ts MODEL TRAINING TEST [--steps 150] [--length 256] [--batch 8] [--lr 1e-3] [--seeds 1,2,3]
 *     [--arms REGEXP]
 *
 * TRAINING and TEST are text sources; if they are the same, the last eighth of the documents is the test set.
 */
import { parseArgs } from 'node:util';
import { loadDocuments, PackedDataset, packDocuments, splitDocuments } from '../src/data/index.ts';
import { perplexity, slidingWindows } from '../src/evaluation/index.ts';
import { linearize, loadCausalModel, loadTokenizer, mixerPreset, type PresetOptions, Random } from '../src/index.ts';
import { average, sampleDeviation } from '../src/report/statistics.ts';
import { makeTable, spreadColumn, textTable } from '../src/report/table.ts';
import { causalObjective, parseTrainingSettings, train } from '../src/training/index.ts';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    ...{ steps: { type: 'string', default: '150' }, length: { type: 'string', default: '256' } },
    ...{ batch: { type: 'string', default: '8' }, lr: { type: 'string', default: '1e-3' } },
    ...{ seeds: { type: 'string', default: '1,2,3' }, arms: { type: 'string', default: '' } },
  },
});
const [folder, trainingSource, testSource] = positionals;
const [steps, length, batch, learningRate] = [values.steps, values.length, values.batch, values.lr].map(Number);
const seeds = values.seeds.split(',').map(Number);
const windows = [1, 2, 8].map((times) => times * length);

const original = await loadCausalModel(folder);
const tokenizer = await loadTokenizer(folder);
const isOne = trainingSource === testSource;
const split = splitDocuments(await loadDocuments([trainingSource]), { heldOut: isOne ? 1 / 8 : 0 });
const test = isOne ? split.heldOut : await loadDocuments([testSource]);
const { tokens: testTokens } = await packDocuments(test, tokenizer, { length });
const equal = await packDocuments(split.training, tokenizer, { length });
const datasets = { equal, mixed: mixedRows() };

function mixedRows(): PackedDataset {
  const random = new Random(0);
  const [starts, counts]: [number[], number[]] = [[], []];
  for (let at = 0; at + 2 * length < equal.tokens.length; at += counts[counts.length - 1] - 1) {
    starts.push(at);
    counts.push(length * [0.25, 0.5, 1, 2][random.integer(4)] + 1);
  }
  const parts = { starts: Int32Array.from(starts), counts: Int32Array.from(counts) };
  const { documents, padId, tokens } = equal;
  return new PackedDataset({ documents, padId, tokens, length: 2 * length, ...parts });
}

interface Arm {
  readonly preset: string;
  readonly options?: PresetOptions;
  readonly rows?: 'equal' | 'mixed';
}
const sum = { fade: 1 };
const arms: Readonly<Record<string, Arm>> = {
  local: { preset: 'local' },
  'local + α·sum': { preset: 'local+global', options: sum },
  'local + α·fading sum': { preset: 'local+global' },
  'local + conv': { preset: 'local+conv' },
  'local + α·sum + conv': { preset: 'augmented', options: sum },
  'local + α·fading sum + conv': { preset: 'augmented' },
  'local, mixed': { preset: 'local', rows: 'mixed' },
  'local + α·sum, mixed': { preset: 'local+global', options: sum, rows: 'mixed' },
};

/** Trains, then measures the perplexity in each window. */
async function measured({ preset, options, rows = 'equal' }: Arm, seed: number): Promise<number[]> {
  const mixer = mixerPreset(preset, { localKernel: 'softmax', ...options });
  const { model, parameters } = linearize(original.model, original.parameters, mixer);
  const dataset = datasets[rows];
  const settings = parseTrainingSettings({ steps, batch, seed, learningRate, length: dataset.length, warmup: 10 });
  const objective = causalObjective(model, dataset.length);
  const trained = await train({ model, parameters, objective, dataset, settings });
  const found: number[] = [];
  for (const size of windows) {
    const scored = slidingWindows(testTokens, size, size).filter(({ tokens }) => tokens.length === size);
    found.push((await perplexity(model, trained.parameters, { windows: scored, documents: test.length })).perplexity);
  }
  console.error(preset, rows, options ?? '', `seed ${seed}:`, found.map((value) => value.toFixed(4)).join(' '));
  return found;
}

const results: { readonly name: string; readonly found: number[][] }[] = [];
for (const [name, arm] of Object.entries(arms)) {
  if (!new RegExp(values.arms).test(name)) continue;
  const found: number[][] = [];
  for (const seed of seeds) found.push(await measured(arm, seed));
  results.push({ name, found });
}
console.log(
  textTable(
    makeTable(
      [
        { header: 'mixer', value: 'name' },
        ...windows.map((size, at) =>
          spreadColumn<(typeof results)[number]>(
            `${size} tokens`,
            ({ found }) => {
              const own = found.map((values) => values[at]);
              return [average(own), sampleDeviation(own)];
            },
            3,
          ),
        ),
      ],
      results,
    ),
  ),
);
