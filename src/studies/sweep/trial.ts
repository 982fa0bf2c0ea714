/** One cell of a study: a model with its mixers, one seed, one budget of training, one number at the end. */
import { createHash } from 'node:crypto';
import type { MixerConfig } from '../../attention/mixer.ts';
import { describeMixer } from '../../attention/mixers.ts';
import type { LoadedModel } from '../../checkpoint/load-model.ts';
import type { PackedDataset } from '../../data/packing.ts';
import { LinnetError } from '../../errors.ts';
import { elementCount } from '../../graph/tensor.ts';
import { describeCausalModel } from '../../models/families.ts';
import { initializeParameters } from '../../models/initialize.ts';
import type { CausalModel } from '../../models/model.ts';
import { linearize } from '../../models/linearize.ts';
import { Random } from '../../random.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { causalObjective } from '../../training/objectives/next-token.ts';
import type { TrainingSettings } from '../../training/settings.ts';
import { train, type TrainingJob, type UpdateEvent } from '../../training/trainer.ts';
import { perplexity } from '../../evaluation/perplexity/perplexity.ts';
import type { EvaluationData } from '../../evaluation/perplexity/scored-windows.ts';

/** Where the models of a study start: a configuration to draw weights for, or a model to convert. */
export type SweepBase =
  | { readonly kind: 'scratch'; readonly config: Readonly<Record<string, unknown>> }
  | { readonly kind: 'converted'; readonly loaded: LoadedModel };

export interface Trial {
  /** Names of model and method in the plan. */
  readonly model: string;
  readonly method: string;
  readonly augmented: boolean;
  readonly seed: number;
  readonly base: SweepBase;
  /** The mixers of a model of so many layers. */
  readonly mixers: (layers: number) => readonly MixerConfig[];
  readonly settings: TrainingSettings;
  readonly dataset: PackedDataset;
  readonly heldOut: EvaluationData;
}

/** What a trial measured. */
export interface TrialResult {
  /** Of the held-out text. */
  readonly perplexity: number;
  /** Mean training loss of the last tenth of the optimizer steps. */
  readonly loss: number;
  readonly parameters: number;
  readonly tokensPerSecond: number;
  readonly seconds: number;
  /** The mixer of the last layer in words. */
  readonly description: string;
}

/** The model of a trial and the weights it starts from. */
function startingPoint({ base, mixers, seed }: Trial): Pick<TrainingJob, 'parameters' | 'origin'> & {
  model: CausalModel;
} {
  if (base.kind === 'scratch') {
    const plain = describeCausalModel(base.config);
    const model = plain.withMixers(mixers(plain.sizes.layers));
    return { model, parameters: initializeParameters(model, new Random(seed)) };
  }
  const { loaded } = base;
  let model = loaded.model;
  let parameters: TrainingJob['parameters'] = loaded.parameters;
  mixers(model.sizes.layers).forEach((mixer, layer) => {
    ({ model, parameters } = linearize(model, parameters, mixer, [layer]));
  });
  return { model, parameters, origin: loaded.fingerprint };
}

/** SHA-256, in hex, of all that decides the result of a trial. */
export function trialIdentity(trial: Trial): string {
  const { model, origin } = startingShape(trial);
  const hash = createHash('sha256');
  hash.update(
    JSON.stringify({ model: model.toJson(), origin, settings: trial.settings, data: trial.dataset.fingerprint() }),
  );
  for (const { tokens, scoredFrom } of trial.heldOut.windows) hash.update(`\n${scoredFrom}:${tokens.join(' ')}`);
  return hash.digest('hex');
}

/** The model without its weights, which follow from it and the seed or from their origin. */
function startingShape({ base, mixers }: Trial): Pick<TrainingJob, 'origin'> & { model: CausalModel } {
  const plain = base.kind === 'scratch' ? describeCausalModel(base.config) : base.loaded.model;
  return {
    model: plain.withMixers(mixers(plain.sizes.layers)),
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
  const started = performance.now();
  const start = startingPoint(trial);
  const outcome = await train({
    ...start,
    objective: causalObjective(start.model, trial.dataset.length),
    dataset: trial.dataset,
    settings: trial.settings,
    snapshots,
    compile,
    signal,
    onUpdate: (event) => onUpdate?.(event),
  });
  if (!outcome.finished) {
    throw new LinnetError('ABORTED', `stopped after ${outcome.updates} of ${outcome.total} optimizer steps`);
  }
  const measured = await perplexity(start.model, outcome.parameters, trial.heldOut, { ...compile, signal });
  const { model } = start;
  let parameters = 0;
  for (const { shape } of model.parameters.values()) parameters += elementCount(shape);
  return {
    perplexity: measured.perplexity,
    loss: outcome.loss ?? Number.NaN,
    parameters,
    tokensPerSecond: outcome.tokensPerSecond ?? Number.NaN,
    seconds: (performance.now() - started) / 1000,
    description: describeMixer(model.mixers[model.mixers.length - 1]),
  };
}
