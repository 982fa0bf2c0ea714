/** A sweep: every method, plain and with the convolution, in every model, with every seed, on the same budget of training. */
import { createHash } from 'node:crypto';
import type { MixerConfig } from '../../attention/mixer.ts';
import { describeMixer } from '../../attention/mixers.ts';
import { loadDocuments } from '../../data/documents/documents.ts';
import { splitDocuments } from '../../data/documents/split.ts';
import { perplexity } from '../../evaluation/perplexity/perplexity.ts';
import { type Model, requireCausal } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { linearize } from '../../models/linearization/linearize.ts';
import { Random } from '../../random.ts';
import { formatCount } from '../../report/quantities.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { requireFewSteps } from '../../training/plans/plan.ts';
import { specialTokenIds } from '../../training/plans/pretrain.ts';
import { type TrainingSettings, parseTrainingSettings } from '../../training/settings.ts';
import { totalUpdates, type TrainingJob } from '../../training/trainer.ts';
import { Study } from '../frame/run-study.ts';
import type { PlanSource, TrialHooks, Trials } from '../frame/study.ts';
import { parameterCount } from '../../nn/parameters.ts';
import { openStart, requireVocabulary, type StartingModel, trainTrial } from '../frame/train-trial.ts';
import {
  type SweepMeasured,
  sweepMeasured,
  type SweepPlace,
  type SweepPlan,
  sweepPlan,
  type SweepVariant,
  sweepVariants,
} from './plan.ts';
import { reportSweep } from './report.ts';
import { studyObjective, type StudyText, studyText, textKey } from './text.ts';
import { modelAttentions, partReadings } from '../../models/model.ts';
import type { AttentionPart } from '../../models/config-fields.ts';

/** One model with its mixers, one seed, one budget. */
export interface SweepTrial extends SweepPlace {
  readonly start: StartingModel;
  readonly mixers: SweepVariant['mixers'];
  readonly settings: TrainingSettings;
  readonly text: StudyText;
}

export const sweepStudy = new Study<SweepPlan, SweepTrial, SweepPlace, SweepMeasured>({
  name: 'sweep',
  description:
    'Which method is better, and is the difference more than noise? Every method of the plan, plain and with the masked ' +
    'convolution, in every model, with every seed, on the same budget of training; then the perplexity of held-out text. ' +
    'docs/study.md describes the plan.',
  examples: [
    'linnet study sweep --plan node_modules/linnet/assets/sweeps/quick.json --out runs/quick',
    'linnet study sweep --plan node_modules/linnet/assets/sweeps/seven-methods.json --out runs/seven --json',
  ],
  plan: sweepPlan,
  measured: sweepMeasured,
  load: loadSweep,
  place: ({ model, method, augmented, seed }) => ({ model, method, augmented, seed }),
  identity: sweepIdentity,
  run: runSweepTrial,
  figures: ({ perplexity: found, seconds }) => ({ perplexity: found, trialSeconds: seconds }),
  report: (results, { plan, trials }) => reportSweep(plan, results, trials[0].text.scored),
});

/** @throws LinnetError `CONFIG` for an impossible method, model or setting, `INPUT` or `NOT_FOUND` for the text */
async function loadSweep(plan: SweepPlan, source: PlanSource): Promise<Trials<SweepTrial>> {
  const tokenizer = await loadTokenizer(await source.model(plan.tokenizer));
  const split = splitDocuments(await loadDocuments(plan.data, { field: plan.field }), { heldOut: plan.heldOut });
  const texts = new Map<string, StudyText>();
  const trials: SweepTrial[] = [];
  for (const [name, choice] of Object.entries(plan.models)) {
    const special = choice.config?.model_type === 'flash' ? {} : specialTokenIds(tokenizer);
    const start = await openStart(choice, source, special);
    const { model } = start;
    requireVocabulary(name, model, tokenizer);
    for (const seed of plan.seeds) {
      const settings = parseTrainingSettings({ ...plan.training, ...choice.training, seed });
      const { length } = settings;
      const key = textKey(model, length);
      const text = texts.get(key) ?? (await studyText(model, tokenizer, split, { length, windows: plan.windows }));
      texts.set(key, text);
      requireFewSteps(totalUpdates(text.dataset, settings));
      for (const variant of sweepVariants(plan)) trials.push({ ...variant, model: name, seed, start, settings, text });
    }
  }
  const [{ settings, text }] = trials;
  const note =
    `${formatCount(trials.length)} trials of ${formatCount(settings.steps ?? 0)} optimizer steps; ` +
    `${formatCount(text.dataset.rows * text.dataset.length)} tokens to train on, ${formatCount(text.scored)} scored`;
  return { trials, note };
}

/** The mixers of a model's attentions. Cross-attention stays as it is. */
function mixersOf(model: Model, mixers: SweepVariant['mixers']): MixerConfig[] {
  const attentions = modelAttentions(model);
  const ofPart = (part: AttentionPart): MixerConfig[] => {
    const group = attentions.filter((attention) => attention.part === part);
    return group.length === 0 ? [] : mixers(group.length, partReadings[part]);
  };
  const changed = { encoder: ofPart('encoder'), decoder: ofPart('decoder') };
  return attentions.map(({ part, layer }, index) => (part === 'cross' ? model.mixers[index] : changed[part][layer]));
}

/** The model of a trial without its weights, which follow from it and the seed or from their origin. */
function describedModel({ start: { model, loaded }, mixers }: SweepTrial) {
  return { model: model.withMixers(mixersOf(model, mixers)), origin: loaded?.fingerprint };
}

function startingWeights({ start: { loaded }, mixers, seed }: SweepTrial, described: Model): TrainingJob['parameters'] {
  if (loaded === undefined) return initializeParameters(described, new Random(seed));
  let { model, parameters }: { model: Model; parameters: TrainingJob['parameters'] } = loaded;
  for (const [attention, mixer] of mixersOf(model, mixers).entries()) {
    ({ model, parameters } = linearize<Model>(model, parameters, mixer, [attention]));
  }
  return parameters;
}

function sweepIdentity(trial: SweepTrial): string {
  const { model, origin } = describedModel(trial);
  const { dataset, heldOut } = trial.text;
  const hash = createHash('sha256');
  hash.update(JSON.stringify({ model: model.toJson(), origin, settings: trial.settings, data: dataset.fingerprint() }));
  if (heldOut.kind === 'rows') hash.update(heldOut.rows.fingerprint());
  else for (const { tokens, scoredFrom } of heldOut.data.windows) hash.update(`\n${scoredFrom}:${tokens.join(' ')}`);
  return hash.digest('hex');
}

async function runSweepTrial(trial: SweepTrial, hooks: TrialHooks): Promise<SweepMeasured> {
  const { settings, text } = trial;
  const { dataset, heldOut } = text;
  const started = performance.now();
  const { model, origin } = describedModel(trial);
  const objective = studyObjective(model, dataset);
  const evaluation =
    heldOut.kind === 'rows'
      ? ({ dataset: heldOut.rows, objective, every: totalUpdates(dataset, settings), keep: 'last' } as const)
      : undefined;
  const job = { model, origin, parameters: startingWeights(trial, model), objective, dataset, settings, evaluation };
  const { parameters, evaluations, loss, tokensPerSecond, curve } = await trainTrial(job, hooks);
  const { compile, signal } = hooks;
  const found =
    heldOut.kind === 'windows'
      ? await perplexity(requireCausal(model), parameters, heldOut.data, { ...compile, signal })
      : { perplexity: Math.exp(evaluations.at(-1)?.loss ?? Number.NaN) };
  return {
    perplexity: found.perplexity,
    loss,
    parameters: parameterCount(model.parameters),
    tokensPerSecond,
    seconds: (performance.now() - started) / 1000,
    description: describeMixer(model.mixers[model.mixers.length - 1]),
    curve,
  };
}
