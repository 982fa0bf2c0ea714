/** `linnet eval recall`: what a model still knows of what it read. */
import { readFile } from 'node:fs/promises';
import { loadCausalModel } from '../../../checkpoint/load-model.ts';
import { AssociativeRecall } from '../../../data/datasets/associative-recall.ts';
import { LinnetError } from '../../../errors.ts';
import { associativeRecall } from '../../../evaluation/recall/associative-recall.ts';
import { writeFileAtomic } from '../../../files/atomic.ts';
import { parseJsonObject } from '../../../files/json-object.ts';
import { fixed, formatBytes, formatCount, formatFixed } from '../../../report/quantities.ts';
import type { Column } from '../../../report/table.ts';
import type { CompileOptions } from '../../../runtime/compile.ts';
import { parseRecallPlan } from '../../../studies/recall/plan.ts';
import { readRecallTrials, recallTrialLines } from '../../../studies/recall/results.ts';
import { named, type RecallTrial, runRecallStudy } from '../../../studies/recall/study.ts';
import { defineCommand, engineOptions, optional, required, withDefault } from '../../framework/command.ts';
import type { CommandContext } from '../../framework/context.ts';
import { UsageError } from '../../framework/exit-codes.ts';
import { called, choice, countList, filePath, integer, path, seed32 } from '../../framework/option-values.ts';
import { recallChart } from '../../output/recall-chart.ts';

export const evalRecall = defineCommand({
  description:
    'Measures recall. Task mqar: pairs of a key and a value, then the keys again, at distances that follow a power law; a ' +
    'model answers with the values. The first argument is a model folder, which is measured as it is, or a plan (a .json ' +
    'file; see docs/notes/recall.md): then a model for every mixer and seed of it is trained from random weights, and ' +
    'accuracy is laid against the bytes of the state.',
  examples: [
    'linnet eval recall assets/sweeps/mqar.json --chart mqar.svg',
    'linnet eval recall assets/tiny-llama --lengths 64,256 --pairs 8 --json',
  ],
  arguments: { model: required(path, 'folder of the model, or a plan') },
  options: {
    task: withDefault(choice(['mqar']), 'mqar', 'what is asked'),
    lengths: optional(called('counts', countList), 'tokens of a row, of a model (default: 64,256)'),
    pairs: optional(integer(1, 1 << 15), 'pairs in a row, of a model (default: 8)'),
    rows: optional(integer(1, 1 << 20), 'rows per length, of a model (default: 64)'),
    seed: withDefault(seed32, 0, 'seed of the rows, of a model'),
    results: optional(filePath, 'JSON lines of the trials of a plan; those that it holds already are not run again'),
    chart: optional(filePath, 'where a chart goes, as SVG'),
    ...engineOptions,
  },
  writesResults: true,
  writes: ['chart'],
  async run(context, { model, task, lengths, pairs, rows, seed, results, chart, ...compile }) {
    const isPlan = model.toLowerCase().endsWith('.json');
    if (isPlan && (lengths ?? pairs ?? rows) !== undefined) {
      throw new UsageError('--lengths, --pairs and --rows are for model folders; a plan has "tests"');
    }
    const shape = { lengths: lengths ?? [64, 256], pairs: pairs ?? 8, rows: rows ?? 64, seed };
    const trials = isPlan
      ? await planTrials(context, model, results, compile)
      : [await modelTrial(context, model, shape, compile)];
    context.table(trials.flatMap(tableRows), columns);
    if (chart !== undefined) {
      await writeFileAtomic(chart, (await recallChart(trials)).svgFile());
      context.print(`\nwrote ${chart}`);
    }
    return { json: { task, trials: trials.map(reportedTrial), ...(chart === undefined ? {} : { chart }) } };
  },
});

interface Row {
  readonly method: string;
  readonly size: string;
  readonly seed: number | undefined;
  readonly loss: number | undefined;
  readonly test: RecallTrial['tests'][number];
}

const columns: readonly Column<Row>[] = [
  { header: 'model', value: ({ method }) => method },
  { header: 'size', value: ({ size }) => size },
  { header: 'seed', value: ({ seed }) => seed },
  { header: 'tokens', value: ({ test }) => test.length, format: formatCount },
  { header: 'pairs', value: ({ test }) => test.pairs },
  { header: 'state', value: ({ test }) => formatBytes(test.stateBytes), align: 'right' },
  { header: 'accuracy', value: ({ test }) => test.accuracy, format: fixed(3) },
  { header: 'questions', value: ({ test }) => test.questions, format: formatCount },
  { header: 'last loss', value: ({ loss }) => loss, format: fixed(3) },
];

function tableRows({ method, size, seed, loss, tests }: RecallTrial): Row[] {
  const isTrained = Number.isFinite(loss);
  return tests.map((test) => ({
    ...{ method, size, test },
    ...{ seed: isTrained ? seed : undefined, loss: isTrained ? loss : undefined },
  }));
}

/** Not-a-number, the loss of what was not trained, is null. */
function reportedTrial({ loss, identity: _, ...trial }: RecallTrial): Record<string, unknown> {
  return { ...trial, loss: Number.isFinite(loss) ? loss : null };
}

async function planTrials(
  context: CommandContext,
  file: string,
  results: string | undefined,
  compile: CompileOptions,
): Promise<RecallTrial[]> {
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new LinnetError('NOT_FOUND', `cannot read ${file}; give the path of a plan, or a model folder`, { cause });
  });
  const plan = parseRecallPlan(parseJsonObject(bytes, file), file);
  const done = results === undefined ? [] : await readRecallTrials(results);
  return await context.withProgress('recall', 'percent', (progress) =>
    runRecallStudy(plan, {
      compile,
      known: [...done],
      signal: context.signal,
      onUpdate: (method, seed, loss, share) => {
        progress.update(Math.floor(100 * share), 100, `${method}, seed ${seed}, loss ${formatFixed(loss, 3)}`);
      },
      onTrial: async (trial) => {
        const { method, size, seed, tests, seconds } = trial;
        done.push(trial);
        if (results !== undefined) await writeFileAtomic(results, recallTrialLines(done));
        const found = tests.map(({ length, accuracy }) => `${formatFixed(accuracy, 3)} at ${length}`).join(', ');
        context.note(`${named(method, size)}, seed ${seed}: ${found} tokens (${formatFixed(seconds, 0)} s)`);
      },
    }),
  );
}

interface TestShape {
  readonly lengths: readonly number[];
  readonly pairs: number;
  readonly rows: number;
  readonly seed: number;
}

async function modelTrial(
  context: CommandContext,
  folder: string,
  { lengths, pairs, rows, seed }: TestShape,
  compile: CompileOptions,
): Promise<RecallTrial> {
  const started = performance.now();
  const { model, parameters } = await loadCausalModel(folder);
  const vocabulary = model.sizes.vocabulary - (model.sizes.vocabulary % 2);
  const tests = await context.withProgress('recall', 'lengths', async (progress) => {
    const found: RecallTrial['tests'][number][] = [];
    for (const length of lengths) {
      const data = new AssociativeRecall({ vocabulary, length, pairs, rows, seed });
      found.push(await associativeRecall(model, parameters, data, { ...compile, signal: context.signal }));
      progress.update(found.length, lengths.length);
    }
    return found;
  });
  return {
    method: folder,
    size: '',
    identity: '',
    seed,
    loss: Number.NaN,
    seconds: (performance.now() - started) / 1000,
    tests,
  };
}
