/** Associative recall against state size, for trained mixers, sizes and seeds, or for given models. */
import { join } from 'node:path';
import { z } from 'zod';
import { loadCausalModel } from '../../checkpoint/load-model.ts';
import { AssociativeRecall } from '../../data/datasets/associative-recall.ts';
import type { Weights } from '../../graph/tensor.ts';
import { describeCausalModel } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import type { CausalModel } from '../../models/model.ts';
import { Random } from '../../random.ts';
import { causalObjective } from '../../training/objectives/next-token.ts';
import { parseTrainingSettings } from '../../training/settings.ts';
import { lineChart } from '../../report/charts/chart.ts';
import { fixed, formatBytes, formatCount } from '../../report/quantities.ts';
import { makeTable } from '../../report/table.ts';
import { studyOf } from '../frame/run-study.ts';
import { groupedBy } from '../../report/statistics.ts';
import { meanPoints, resultSection, type StudyReport } from '../frame/study-report.ts';
import { measuredNumber, trialIdentity, type TrialHooks } from '../frame/study.ts';
import { trainTrial } from '../frame/train-trial.ts';
import { associativeRecall, type AssociativeRecallResult, recallResult } from './associative-recall.ts';
import { recallConfigs, type RecallMethod, recallMethods, type RecallPlan, recallPlan, startingAt } from './plan.ts';

/** For a model folder, the method is its path; the size is empty in plans without sizes. */
type Place = Readonly<{ method: string; size: string; seed: number }>;

interface RecallTrial extends Place {
  readonly plan: RecallPlan;
  /** The trained model; undefined for a model folder. */
  readonly trained?: { readonly config: NonNullable<RecallPlan['config']>; readonly choice: RecallMethod };
  /** Folder of a model to measure as it is. */
  readonly folder: string;
}

const measuredSchema = z.strictObject({
  /** Mean loss of the last tenth of the last lesson, in nats per answer; not a number for a model folder. */
  loss: measuredNumber,
  seconds: z.number(),
  tests: z.array(recallResult).readonly(),
});
type Measured = z.output<typeof measuredSchema>;

/** Seeds of test rows, far from the lessons' seeds. */
const testSeed = 0x7e57;

export const recallStudy = studyOf<RecallPlan, RecallTrial, Place, Measured>({
  name: 'recall',
  description:
    'Gives a model pairs of a key and a value, then the keys again at power-law distances (MQAR), and counts the right values. With "config" and ' +
    '"methods", trains a model of every mixer, size and seed from random weights and compares accuracy with the bytes of the state; measures "models" ' +
    'as they are. docs/notes/recall.md has results.',
  examples: [
    'linnet study recall --plan node_modules/linnet/assets/sweeps/mqar.json --out runs/mqar',
    `linnet study recall --set 'models=["linnet:tiny-llama"]' --set 'tests=[{"length": 64, "pairs": 8, "rows": 64}]' --json`,
  ],
  plan: recallPlan,
  measured: measuredSchema,
  async load(plan, { model }) {
    const folders = plan.seeds.flatMap((seed) =>
      plan.models.map(async (method): Promise<RecallTrial> => {
        return { method, size: '', seed, plan, folder: await model(method) };
      }),
    );
    const trained = plan.seeds.flatMap((seed) =>
      [...recallConfigs(plan)].flatMap(([size, config]) =>
        [...recallMethods(plan)].map(([method, choice]): RecallTrial => {
          return { method, size, seed, plan, trained: { config, choice }, folder: '' };
        }),
      ),
    );
    return { trials: [...(await Promise.all(folders)), ...trained] };
  },
  place: ({ method, size, seed }) => ({ method, size, seed }),
  async identity({ plan: { deviation, lessons, tests }, trained, folder, seed }) {
    if (trained === undefined) return trialIdentity((await loadCausalModel(folder)).fingerprint, tests, seed);
    const { mixer, first, initial } = trained.choice;
    const others = [initial, first].filter((part) => part !== undefined);
    return trialIdentity([1, trained.config, deviation ?? null, lessons, tests, mixer, seed, ...others]);
  },
  async run(trial, hooks) {
    const started = performance.now();
    const { model, parameters, loss, rowSeed } = await subjectOf(trial, hooks);
    const vocabulary = model.sizes.vocabulary - (model.sizes.vocabulary % 2);
    const tests: AssociativeRecallResult[] = [];
    for (const { length, pairs, rows } of trial.plan.tests) {
      const data = new AssociativeRecall({ vocabulary, length, pairs, rows, seed: rowSeed });
      tests.push(await associativeRecall(model, parameters, data, { ...hooks.compile, signal: hooks.signal }));
    }
    return { loss, seconds: (performance.now() - started) / 1000, tests };
  },
  figures: ({ tests }) => Object.fromEntries(tests.map(({ length, accuracy }) => [`accuracy at ${length}`, accuracy])),
  report: (results, { plan }) => reportRecall(plan.title, results),
});

interface Subject {
  readonly model: CausalModel;
  readonly parameters: Weights;
  readonly loss: number;
  readonly rowSeed: number;
}

async function subjectOf(trial: RecallTrial, hooks: TrialHooks): Promise<Subject> {
  const { trained, folder, seed, plan } = trial;
  if (trained === undefined) return { ...(await loadCausalModel(folder)), loss: Number.NaN, rowSeed: seed };
  const { mixer, first, initial } = trained.choice;
  const plain = describeCausalModel(trained.config);
  const model = plain.withMixers(plain.mixers.map((_, layer) => (layer === 0 ? (first ?? mixer) : mixer)));
  const { vocabulary } = model.sizes;
  const drawn = initializeParameters(model, new Random(seed), plan.deviation);
  let parameters: Subject['parameters'] = startingAt(drawn, initial);
  let loss = Number.NaN;
  const total = plan.lessons.reduce((sum, lesson) => sum + lesson.steps, 0);
  let before = 0;
  for (const [index, { length, pairs, steps, batch, learningRate }] of plan.lessons.entries()) {
    const done = before;
    const job = {
      model,
      objective: causalObjective(model, length),
      parameters,
      origin: trialIdentity(index, loss),
      dataset: new AssociativeRecall({ vocabulary, length, pairs, rows: 1024 * batch, seed: 1000 * seed + index }),
      settings: parseTrainingSettings({
        length,
        batch,
        learningRate,
        seed,
        steps,
        schedule: 'cosine',
        warmupShare: 0.1,
        beta2: 0.95,
      }),
    };
    const { snapshots } = hooks;
    ({ parameters, loss } = await trainTrial(job, {
      ...hooks,
      snapshots: snapshots && { ...snapshots, folder: join(snapshots.folder, `lesson-${index + 1}`) },
      onUpdate: (event) => hooks.onUpdate?.({ ...event, update: done + event.update, total }),
    }));
    before += steps;
  }
  return { model, parameters, loss, rowSeed: testSeed };
}

type Result = Place & Measured;

async function reportRecall(title: string, results: readonly Result[]): Promise<StudyReport> {
  const chart = await recallChart(results);
  const rows = results.flatMap(({ tests, ...trial }) => tests.map((test) => ({ ...trial, test })));
  const trainedOnly = (loss: number, value: number): number | undefined => (Number.isFinite(loss) ? value : undefined);
  const table = makeTable<(typeof rows)[number]>(
    [
      { header: 'model', value: 'method' },
      { header: 'size', value: 'size' },
      { header: 'seed', value: ({ loss, seed }) => trainedOnly(loss, seed) },
      { header: 'tokens', value: ({ test }) => test.length, format: formatCount },
      { header: 'pairs', value: ({ test }) => test.pairs },
      { header: 'state', value: ({ test }) => formatBytes(test.stateBytes), align: 'right' },
      { header: 'accuracy', value: ({ test }) => test.accuracy, format: fixed(3) },
      { header: 'questions', value: ({ test }) => test.questions, format: formatCount },
      { header: 'last loss', value: ({ loss }) => trainedOnly(loss, loss), format: fixed(3) },
    ],
    rows,
  );
  return {
    json: { task: 'mqar', trials: results },
    title,
    sections: [resultSection('Recall', [chart], table)],
    charts: { recall: chart },
  };
}

/** A line a method over the sizes, by bytes of the state on the longest rows; seeds are averaged, their range is drawn. */
function recallChart(results: readonly Result[]) {
  const longest = ({ tests }: Result) => tests.toSorted((a, b) => b.length - a.length || b.pairs - a.pairs)[0];
  const { length, pairs } = longest(results[0]);
  return lineChart({
    title: `Associative recall, ${pairs} pairs in ${formatCount(length)} tokens, against memory`,
    description: 'Share of right answers on the longest rows, against the state size of all layers.',
    x: { label: 'state', scale: 'log2', format: formatBytes },
    y: { label: 'accuracy', min: 0, max: 1, format: fixed(1) },
    lines: groupedBy(results, ({ method }) => method).map((group) => {
      const tests = group.map(longest);
      return {
        name: group[0].method,
        points: meanPoints(
          tests,
          (test) => test.stateBytes,
          (test) => test.accuracy,
        ),
      };
    }),
  });
}
