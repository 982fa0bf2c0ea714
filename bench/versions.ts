/**
 * The speed guard: compares another checkout of this repository with this one, by model: single tokens, prompts,
 * many texts in a step, token trees, texts from `open().generate`, time to open and peak memory; and training steps. The two
 * alternate in one process (in child processes for the last two), so a drifting or shared machine
 * treats both alike. A row is "slower" if its ratio is below 0.97 in every turn.
 *
 *   git worktree add --detach ../linnet-before COMMIT && ln -s "$PWD/node_modules" ../linnet-before/
 *   npx tsx bench/versions.ts ../linnet-before MODEL… [--dtypes f32,int4,w8a8,mixed] [--turns 3] [--seconds 1]
 *     [--contexts 64,4096] [--prompts 1024] [--rows 4,16] [--trees 16,64] [--tokens 64] [--processes 3] [--widths 256,512] [--json FILE]
 *
 * MODEL is an exported folder or a checkpoint, or `BEFORE,NOW`, one folder per version. With --dtypes each checkout exports a checkpoint for itself, and
 * `like:tinyllama-1.1b` is a `linnet synth` shape. An empty list, or 0, skips its rows. Both must share `node_modules`: the
 * native runtime loads only once.
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { makeTable, textTable } from '../src/report/table.ts';
import { type Checkout, openCheckout, openEngine } from './versions/checkout.ts';
import { engineCases, textCase } from './versions/engine-cases.ts';
import { withModels } from './versions/models.ts';
import { processResults } from './versions/process-cases.ts';
import { trainingCases } from './versions/training-cases.ts';
import { type CaseResult, takeTurns } from './versions/turns.ts';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    dtypes: { type: 'string', default: '' },
    turns: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '1' },
    contexts: { type: 'string', default: '64,4096' },
    prompts: { type: 'string', default: '1024' },
    rows: { type: 'string', default: '4,16' },
    trees: { type: 'string', default: '16,64' },
    tokens: { type: 'string', default: '64' },
    processes: { type: 'string', default: '3' },
    widths: { type: 'string', default: '256,512' },
    json: { type: 'string' },
  },
});
const list = (text: string): string[] => (text === '' ? [] : text.split(','));
const numbers = (text: string): number[] => list(text).map(Number);
const [turns, seconds, processes] = [values.turns, values.seconds, values.processes].map(Number);
const { contexts, prompts, rows, trees } = values;
const sizes = {
  ...{ contexts: numbers(contexts), prompts: numbers(prompts), rows: numbers(rows), trees: numbers(trees) },
};

interface Row extends CaseResult {
  readonly model: string;
}

const [other, ...models] = positionals;
if (other === undefined) throw new Error('give the folder of another checkout and models');
const checkouts: readonly [Checkout, Checkout] = [await openCheckout(other), await openCheckout('.')];
const all: Row[] = [];

const two = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
function show(title: string, results: readonly CaseResult[]): void {
  all.push(...results.map((result) => ({ model: title, ...result })));
  const table = makeTable<CaseResult>(
    [
      { header: 'what', value: 'what' },
      { header: checkouts[0].commit, value: 'before', format: two },
      { header: checkouts[1].commit, value: 'now', format: two },
      { header: 'unit', value: 'unit' },
      { header: 'now is faster by', value: ({ ratios }) => ratios.map((ratio) => ratio.toFixed(2)).join(', ') },
      { header: 'verdict', value: ({ slower }) => (slower ? 'slower' : '') },
    ],
    results,
  );
  process.stdout.write(`${title}\n${textTable(table)}\n\n`);
}

await withModels(checkouts, models, list(values.dtypes), async ({ description, folders }) => {
  const subjects = await Promise.all(
    checkouts.map(async (checkout, which) => ({ checkout, engine: await openEngine(checkout, folders[which]) })),
  );
  const [before, now] = subjects;
  const results = await takeTurns(engineCases([before, now], sizes), turns, seconds);
  for (const { engine } of subjects) await engine.dispose();
  const tokens = Number(values.tokens);
  if (tokens > 1) results.push(...(await takeTurns([await textCase(checkouts, folders, tokens)], turns, seconds)));
  if (processes > 0) results.push(...(await processResults(checkouts, folders, turns, processes)));
  show(description, results);
});
const widths = numbers(values.widths);
if (widths.length > 0) show('training', await takeTurns(trainingCases(checkouts, widths), turns, 0));
if (values.json !== undefined) await writeFile(values.json, JSON.stringify(all, null, 2));
const slower = all.filter((row) => row.slower);
process.stdout.write(
  slower.length === 0
    ? 'nothing is slower\n'
    : `${slower.length} slower: ${slower.map(({ model, what }) => `${what} (${model})`).join('; ')}\n`,
);
