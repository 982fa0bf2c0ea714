/**
 * A sweep: every method, plain and with the masked convolution, in every model, with every seed, on the same budget of
 * training; then the perplexity of held-out text.
 */
import { createHash } from 'node:crypto';
import type { MixerConfig } from '../../attention/mixer.ts';
import { describeMixer } from '../../attention/mixers.ts';
import { loadModel } from '../../checkpoint/load-model.ts';
import { loadDocuments } from '../../data/documents/documents.ts';
import { splitDocuments } from '../../data/documents/split.ts';
import { LinnetError } from '../../errors.ts';
import { perplexity } from '../../evaluation/perplexity/perplexity.ts';
import { describeModel, type Model } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { linearize } from '../../models/linearization/linearize.ts';
import { Random } from '../../random.ts';
import { formatCount } from '../../report/quantities.ts';
import { loadTokenizer, type Tokenizer } from '../../tokenizer/tokenizer.ts';
import { requireFeasible } from '../../training/plans/effort.ts';
import { parseTrainingSettings } from '../../training/settings.ts';
import { totalUpdates, type TrainingJob } from '../../training/trainer.ts';
import type { PlanSource, StudyDefinition, TrialHooks, Trials } from '../frame/study.ts';
import { parameterCount, type TrainedTrial, trainTrial } from '../frame/train-trial.ts';
import { type SweepModel, type SweepPlan, sweepPlan, type SweepVariant, sweepVariants } from './plan.ts';
import { reportSweep } from './report.ts';
import { studyObjective, type StudyText, studyText, textKey } from './text.ts';
import { type SweepBase, type SweepMeasured, sweepMeasured, type SweepPlace, type SweepTrial } from './trial.ts';

export const sweepStudy: StudyDefinition<SweepPlan, SweepTrial, SweepPlace, SweepMeasured> = {
  name: 'sweep',
  description:
    'Which method is better, and is the difference more than noise? Every method of the plan, plain and with the masked ' +
    'convolution, in every model, with every seed, on the same budget of training; then the perplexity of held-out text. ' +
    'docs/study.md describes the plan.',
  examples: [
    'linnet study sweep --plan assets/sweeps/quick.json --out runs/quick',
    'linnet study sweep --plan assets/sweeps/seven-methods.json --out runs/seven --json',
  ],
  plan: sweepPlan,
  measured: sweepMeasured,
  load: loadSweep,
  place: ({ model, method, augmented, seed }) => ({ model, method, augmented, seed }),
  identity: sweepIdentity,
  run: runSweepTrial,
  figures: ({ perplexity: found, seconds }) => ({ perplexity: found, trialSeconds: seconds }),
  report: (results, { plan, trials }) => reportSweep(plan, results, trials[0].text.scored),
};

/** @throws LinnetError `CONFIG` for an impossible method, model or setting, `INPUT` or `NOT_FOUND` for the text */
async function loadSweep(plan: SweepPlan, { place }: PlanSource): Promise<Trials<SweepTrial>> {
  const tokenizer = await loadTokenizer(place(plan.tokenizer));
  const documents = await loadDocuments(plan.data, { field: plan.field });
  const split = splitDocuments(documents, { heldOut: plan.heldOut });
  const texts = new Map<string, StudyText>();
  const trials: SweepTrial[] = [];
  for (const [model, choice] of Object.entries(plan.models)) {
    const base = await openBase(choice, tokenizer, place);
    const described = base.kind === 'scratch' ? describeModel(base.config) : base.loaded.model;
    requireVocabulary(model, described, tokenizer);
    for (const seed of plan.seeds) {
      const settings = parseTrainingSettings({ ...plan.training, ...choice.training, seed });
      const { length } = settings;
      const key = textKey(described, length);
      const text = texts.get(key) ?? (await studyText(described, tokenizer, split, { length, windows: plan.windows }));
      texts.set(key, text);
      requireFeasible(described, settings, totalUpdates(text.dataset, settings));
      for (const variant of sweepVariants(plan)) trials.push({ ...variant, model, seed, base, settings, text });
    }
  }
  const [{ settings, text }] = trials;
  const note =
    `${formatCount(trials.length)} trials of ${formatCount(settings.steps ?? 0)} optimizer steps; ` +
    `${formatCount(text.dataset.rows * text.dataset.length)} tokens to train on, ${formatCount(text.scored)} scored`;
  return { trials, note };
}

async function openBase(
  { config, folder }: SweepModel,
  { bosId, eosId }: Tokenizer,
  place: PlanSource['place'],
): Promise<SweepBase> {
  if (folder !== undefined) return { kind: 'converted', loaded: await loadModel(place(folder)) };
  const special = {
    ...(bosId !== undefined && { bos_token_id: bosId }),
    ...(eosId !== undefined && { eos_token_id: eosId }),
  };
  return { kind: 'scratch', config: config?.model_type === 'flash' ? { ...config } : { ...special, ...config } };
}

/** @throws LinnetError `MISMATCH` for a model whose vocabulary is smaller than its tokenizer's */
export function requireVocabulary(name: string, { sizes }: Pick<Model, 'sizes'>, tokenizer: Tokenizer): void {
  if (tokenizer.vocabularySize <= sizes.vocabulary) return;
  throw new LinnetError(
    'MISMATCH',
    `the tokenizer has ${tokenizer.vocabularySize} tokens, the vocabulary of model "${name}" is ${sizes.vocabulary}`,
  );
}

/** The mixers of a model's attentions. Cross-attention stays as it is. */
function mixersOf(model: Model, mixers: SweepVariant['mixers']): MixerConfig[] {
  if (model.kind !== 'encoder-decoder') {
    return mixers(model.sizes.layers, model.kind === 'encoder' ? 'whole' : 'past');
  }
  const layersOf = { encoder: 0, decoder: 0, cross: 0 };
  for (const { part } of model.attentions) layersOf[part]++;
  const own = { encoder: mixers(layersOf.encoder, 'whole'), decoder: mixers(layersOf.decoder, 'past') };
  return model.attentions.map(({ part, layer }, index) => (part === 'cross' ? model.mixers[index] : own[part][layer]));
}

/** The model of a trial without its weights, which follow from it and the seed or from their origin. */
function describedModel({ base, mixers }: SweepTrial): { model: Model; origin: string | undefined } {
  const plain = base.kind === 'scratch' ? describeModel(base.config) : base.loaded.model;
  const origin = base.kind === 'scratch' ? undefined : base.loaded.fingerprint;
  return { model: plain.withMixers(mixersOf(plain, mixers)), origin };
}

/** The model of a trial and the weights that it starts from. */
function startingPoint(trial: SweepTrial): Pick<TrainingJob, 'parameters' | 'origin'> & { model: Model } {
  const { base, mixers, seed } = trial;
  const described = describedModel(trial);
  if (base.kind === 'scratch') {
    return { ...described, parameters: initializeParameters(described.model, new Random(seed)) };
  }
  let { model }: { model: Model } = base.loaded;
  let parameters: TrainingJob['parameters'] = base.loaded.parameters;
  for (const [attention, mixer] of mixersOf(model, mixers).entries()) {
    ({ model, parameters } = linearize<Model>(model, parameters, mixer, [attention]));
  }
  return { ...described, model, parameters };
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
  const start = startingPoint(trial);
  const objective = studyObjective(start.model, dataset);
  const evaluation =
    heldOut.kind === 'rows'
      ? ({ dataset: heldOut.rows, objective, every: totalUpdates(dataset, settings), keep: 'last' } as const)
      : undefined;
  const trained = await trainTrial({ ...start, objective, dataset, settings, evaluation }, hooks);
  const { loss, tokensPerSecond, curve } = trained;
  return {
    perplexity: await heldOutPerplexity(start.model, trained, text, hooks),
    loss,
    parameters: parameterCount(start.model),
    tokensPerSecond,
    seconds: (performance.now() - started) / 1000,
    description: describeMixer(start.model.mixers[start.model.mixers.length - 1]),
    curve,
  };
}

async function heldOutPerplexity(
  model: Model,
  { parameters, evaluations }: TrainedTrial,
  { heldOut }: StudyText,
  { compile, signal }: TrialHooks,
): Promise<number> {
  if (model.kind !== 'causal' || heldOut.kind === 'rows') return Math.exp(evaluations.at(-1)?.loss ?? Number.NaN);
  return (await perplexity(model, parameters, heldOut.data, { ...compile, signal })).perplexity;
}
