/** One cell of a study: a model with its mixers, one seed, one budget of training, one number at the end. */
import { createHash } from 'node:crypto';
import type { MixerConfig } from '../../attention/mixer.ts';
import { describeMixer } from '../../attention/mixers.ts';
import type { LoadedModel } from '../../checkpoint/load-model.ts';
import { LinnetError } from '../../errors.ts';
import { elementCount } from '../../graph/tensor.ts';
import { describeModel, type Model } from '../../models/families/index.ts';
import { initializeParameters } from '../../models/initialize.ts';
import { linearize } from '../../models/linearization/linearize.ts';
import { Random } from '../../random.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import type { TrainingSettings } from '../../training/settings.ts';
import {
  totalUpdates,
  train,
  type TrainingJob,
  type TrainingOutcome,
  type UpdateEvent,
} from '../../training/trainer.ts';
import { perplexity } from '../../evaluation/perplexity/perplexity.ts';
import type { SweepVariant } from './plan.ts';
import { studyObjective, type StudyText } from './text.ts';

/** Where the models of a study start: a configuration to draw weights for, or a model to convert. */
export type SweepBase =
  | { readonly kind: 'scratch'; readonly config: Readonly<Record<string, unknown>> }
  | { readonly kind: 'converted'; readonly loaded: LoadedModel<Model> };

export interface Trial {
  /** Names of model and method in the plan. */
  readonly model: string;
  readonly method: string;
  readonly augmented: boolean;
  readonly seed: number;
  readonly base: SweepBase;
  readonly mixers: SweepVariant['mixers'];
  readonly settings: TrainingSettings;
  readonly text: StudyText;
}

/** What a trial measured. */
export interface TrialResult {
  /** Of the held-out text: exp of the mean −log p of its tokens, of those that were masked, or of those cut out. */
  readonly perplexity: number;
  /** Mean training loss of the last tenth of the optimizer steps. */
  readonly loss: number;
  readonly parameters: number;
  readonly tokensPerSecond: number;
  readonly seconds: number;
  /** The mixer of the last layer in words. */
  readonly description: string;
  /** Training loss, means over neighbouring optimizer steps; those before a resume are missing. */
  readonly curve?: readonly CurvePoint[];
}

/** A mean of losses, at the last of their steps. */
export interface CurvePoint {
  readonly update: number;
  readonly loss: number;
}

/** Points of a trial's curve. */
const curvePoints = 60;

/** Means of neighbours, so that a curve has at most so many points. */
function thinned(points: readonly CurvePoint[]): CurvePoint[] {
  const each = Math.max(1, Math.ceil(points.length / curvePoints));
  return Array.from({ length: Math.ceil(points.length / each) }, (_, at) => {
    const part = points.slice(at * each, (at + 1) * each);
    const loss = part.reduce((sum, point) => sum + point.loss, 0) / part.length;
    return { update: part[part.length - 1].update, loss };
  });
}

/** The mixers of a model's attentions. What a decoder reads of an encoder stays as it is. */
function mixersOf(model: Model, mixers: SweepVariant['mixers']): MixerConfig[] {
  if (model.kind !== 'encoder-decoder') {
    return mixers(model.sizes.layers, model.kind === 'encoder' ? 'whole' : 'past');
  }
  const layersOf = { encoder: 0, decoder: 0, cross: 0 };
  for (const { part } of model.attentions) layersOf[part]++;
  const own = { encoder: mixers(layersOf.encoder, 'whole'), decoder: mixers(layersOf.decoder, 'past') };
  return model.attentions.map(({ part, layer }, index) => (part === 'cross' ? model.mixers[index] : own[part][layer]));
}

/** The model of a trial and the weights it starts from. */
function startingPoint({ base, mixers, seed }: Trial): Pick<TrainingJob, 'parameters' | 'origin'> & { model: Model } {
  if (base.kind === 'scratch') {
    const plain = describeModel(base.config);
    const model = plain.withMixers(mixersOf(plain, mixers));
    return { model, parameters: initializeParameters(model, new Random(seed)) };
  }
  const { loaded } = base;
  let { model }: { model: Model } = loaded;
  let parameters: TrainingJob['parameters'] = loaded.parameters;
  for (const [attention, mixer] of mixersOf(model, mixers).entries()) {
    ({ model, parameters } = linearize<Model>(model, parameters, mixer, [attention]));
  }
  return { model, parameters, origin: loaded.fingerprint };
}

/** SHA-256, in hex, of all that decides the result of a trial. */
export function trialIdentity(trial: Trial): string {
  const { model, origin } = startingShape(trial);
  const { dataset, heldOut } = trial.text;
  const hash = createHash('sha256');
  hash.update(JSON.stringify({ model: model.toJson(), origin, settings: trial.settings, data: dataset.fingerprint() }));
  if (heldOut.kind === 'rows') hash.update(heldOut.rows.fingerprint());
  else for (const { tokens, scoredFrom } of heldOut.data.windows) hash.update(`\n${scoredFrom}:${tokens.join(' ')}`);
  return hash.digest('hex');
}

/** The model without its weights, which follow from it and the seed or from their origin. */
function startingShape({ base, mixers }: Trial): Pick<TrainingJob, 'origin'> & { model: Model } {
  const plain = base.kind === 'scratch' ? describeModel(base.config) : base.loaded.model;
  return {
    model: plain.withMixers(mixersOf(plain, mixers)),
    origin: base.kind === 'scratch' ? undefined : base.loaded.fingerprint,
  };
}

export interface TrialOptions {
  /** Where snapshots of the training go, so that it can be continued. */
  readonly snapshots?: TrainingJob['snapshots'];
  readonly compile?: CompileOptions;
  readonly signal?: AbortSignal;
  readonly onUpdate?: (event: UpdateEvent) => void;
}

/**
 * Trains and measures.
 * @throws LinnetError `ABORTED` when the signal fires; with `snapshots` the next call goes on from there
 */
export async function runTrial(trial: Trial, options: TrialOptions = {}): Promise<TrialResult> {
  const { snapshots, compile, signal, onUpdate } = options;
  const { settings, text } = trial;
  const { dataset, heldOut } = text;
  const started = performance.now();
  const start = startingPoint(trial);
  const objective = studyObjective(start.model, dataset);
  const losses: CurvePoint[] = [];
  const outcome = await train({
    ...start,
    objective,
    dataset,
    settings,
    snapshots,
    compile,
    signal,
    ...(heldOut.kind === 'rows' && {
      evaluation: { dataset: heldOut.rows, objective, every: totalUpdates(dataset, settings), keep: 'last' },
    }),
    onUpdate(event) {
      losses.push({ update: event.update, loss: event.loss });
      onUpdate?.(event);
    },
  });
  if (!outcome.finished) {
    throw new LinnetError('ABORTED', `stopped after ${outcome.updates} of ${outcome.total} optimizer steps`);
  }
  const { model } = start;
  let parameters = 0;
  for (const { shape } of model.parameters.values()) parameters += elementCount(shape);
  return {
    perplexity: await heldOutPerplexity(model, outcome, text, { compile, signal }),
    loss: outcome.loss ?? Number.NaN,
    parameters,
    tokensPerSecond: outcome.tokensPerSecond ?? Number.NaN,
    seconds: (performance.now() - started) / 1000,
    description: describeMixer(model.mixers[model.mixers.length - 1]),
    curve: thinned(losses),
  };
}

async function heldOutPerplexity(
  model: Model,
  { parameters, evaluations }: TrainingOutcome,
  { heldOut }: StudyText,
  options: Pick<TrialOptions, 'compile' | 'signal'>,
): Promise<number> {
  if (model.kind !== 'causal' || heldOut.kind === 'rows') return Math.exp(evaluations.at(-1)?.loss ?? Number.NaN);
  const { compile, signal } = options;
  return (await perplexity(model, parameters, heldOut.data, { ...compile, signal })).perplexity;
}
