/** A sweep: every method in every model, with every seed, on the same budget of training: of text, or of tasks. */
import { createHash } from 'node:crypto';
import { describeMixer } from '../../attention/mixers.ts';
import type { Model } from '../../models/families/index.ts';
import { modelAttentions } from '../../models/model.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { exchangedParameters } from '../../models/linearization/linearize.ts';
import { Random } from '../../random.ts';
import { formatCount } from '../../report/quantities.ts';
import { withRecipe } from '../../training/recipes.ts';
import { type TrainingSettings, parseTrainingSettings } from '../../training/settings.ts';
import { studyOf } from '../frame/run-study.ts';
import type { StudyReport } from '../frame/study-report.ts';
import type { PlanSource, TrialHooks, Trials } from '../frame/study.ts';
import { parameterCount } from '../../nn/parameters.ts';
import { type StartingModel, trainTrial } from '../frame/train-trial.ts';
import { classificationFindings } from './classification-report.ts';
import { classificationSubjects } from './classification.ts';
import type { SweepLesson } from './lesson.ts';
import {
  type SweepMeasured,
  sweepMeasured,
  type SweepPlace,
  type SweepPlan,
  sweepPlan,
  type SweepResult,
  sweepVariants,
} from './plan.ts';
import { textFindings } from './report.ts';
import { textSubjects } from './text.ts';

/** One model with its mixers, one lesson, one seed, one budget. */
export interface SweepTrial extends SweepPlace {
  readonly start: StartingModel;
  readonly described: Model;
  readonly settings: TrainingSettings;
  readonly lesson: SweepLesson;
}

export const sweepStudy = studyOf<SweepPlan, SweepTrial, SweepPlace, SweepMeasured>({
  name: 'sweep',
  description:
    'Tells which method is better, and whether the difference exceeds noise: trains every method of the plan, plain and with the masked convolution, ' +
    'in every model, with every seed, on the same budget, then measures perplexity on held-out text. docs/study.md describes the plan.\n\nWith the ' +
    "objective classify, fine-tunes classifiers for GLUE or the plan's tasks: every model with every method, task and seed; then measures accuracy, " +
    'F1, Matthews or correlations on the validation rows.',
  examples: [
    'linnet study sweep --plan node_modules/linnet/assets/sweeps/quick.json --out runs/quick',
    'linnet study sweep --plan node_modules/linnet/assets/sweeps/seven-methods.json --out runs/seven --json',
    'linnet study sweep --plan node_modules/linnet/assets/sweeps/classification.json --out runs/reviews',
  ],
  plan: sweepPlan,
  measured: sweepMeasured,
  load: loadSweep,
  place: ({ model, task, method, augmented, seed }) => ({ model, task, method, augmented, seed }),
  identity: sweepIdentity,
  run: runSweepTrial,
  figures: ({ perplexity = Number.NaN, measures, seconds }) => measures ?? { perplexity, trialSeconds: seconds },
  report: reportSweep,
});

/** @throws LinnetError `CONFIG` for an impossible method, model or setting, and for texts and tasks that cannot be read */
async function loadSweep(plan: SweepPlan, source: PlanSource): Promise<Trials<SweepTrial>> {
  const open = await (plan.objective === undefined ? textSubjects(plan, source) : classificationSubjects(plan, source));
  const variants = sweepVariants(plan);
  const trials: SweepTrial[] = [];
  for (const [name, choice] of Object.entries(plan.models)) {
    const { start, lessons } = await open(name);
    const changed = variants.map(({ method, augmented, changed }) => ({
      method,
      augmented,
      described: changed(start.model),
    }));
    for (const seed of plan.seeds) {
      const { recipe, ...training } = { ...plan.training, ...choice.training };
      const settings = parseTrainingSettings(withRecipe(recipe, { ...training, seed }));
      for (const lesson of await lessons(settings)) {
        const { task } = lesson;
        for (const variant of changed) trials.push({ ...variant, model: name, task, seed, start, settings, lesson });
      }
    }
  }
  const extents = extentFacts(trials).map((fact) => fact.join(': '));
  return { trials, note: `${formatCount(trials.length)} trials; ${extents.join('; ')}` };
}

type Fact = readonly [name: string, text: string];

function extentFacts(trials: readonly SweepTrial[]): Fact[] {
  return once(trials.map(({ lesson }) => lesson.extent));
}

function once(facts: readonly Fact[]): Fact[] {
  return [...new Map(facts.map((fact) => [fact.join('\n'), fact])).values()];
}

function sweepIdentity(trial: SweepTrial): string {
  const { start, described, settings, lesson } = trial;
  const { model, dataset, measuredOn } = lesson.prepare(described, settings);
  const origin = start.loaded?.fingerprint;
  const hash = createHash('sha256');
  hash.update(JSON.stringify({ model: model.toJson(), origin, settings, data: dataset.fingerprint() }));
  for (const part of measuredOn()) hash.update(part);
  return hash.digest('hex');
}

async function runSweepTrial(trial: SweepTrial, hooks: TrialHooks): Promise<SweepMeasured> {
  const { start, described, settings, lesson } = trial;
  const started = performance.now();
  const { measuredOn: _, measure, start: startOf, ...job } = lesson.prepare(described, settings);
  const weights =
    start.loaded === undefined
      ? initializeParameters(described, new Random(settings.seed))
      : exchangedParameters(start.model, described, start.loaded.parameters);
  const origin = start.loaded?.fingerprint;
  const trained = await trainTrial({ ...job, settings, origin, parameters: startOf?.(weights) ?? weights }, hooks);
  return {
    ...(await measure(trained, hooks)),
    loss: trained.loss,
    parameters: parameterCount(job.model.parameters),
    tokensPerSecond: trained.tokensPerSecond,
    seconds: (performance.now() - started) / 1000,
    description: describedMixers(described),
    curve: trained.curve,
  };
}

/** A model's kinds of mixers; not of cross-attention, which no method changes. */
function describedMixers(model: Model): string {
  const own = modelAttentions(model).flatMap(({ part }, index) => (part === 'cross' ? [] : [model.mixers[index]]));
  return [...new Set(own.map(describeMixer))].join('; ');
}

async function reportSweep(
  results: readonly SweepResult[],
  { plan, trials }: { readonly plan: SweepPlan; readonly trials: readonly SweepTrial[] },
): Promise<StudyReport> {
  const budgets = trials.map(({ model, settings: { batch, length, learningRate, schedule, steps, epochs } }): Fact => {
    const extent = steps === undefined ? `${epochs} epochs` : `${steps} steps`;
    return [model, `${extent} of ${batch} rows of at most ${length} tokens, rate ${learningRate}, ${schedule}`];
  });
  const findings =
    plan.objective === undefined
      ? await textFindings(results, trials[0].lesson.measured)
      : classificationFindings(results);
  return {
    ...findings,
    title: plan.title,
    subtitle: 'The same budget for every method of a model',
    facts: [
      ...extentFacts(trials),
      ...once(budgets),
      ['seeds', `${plan.seeds.join(', ')}: they draw heads, fresh weights and the order of rows`],
    ],
  };
}
