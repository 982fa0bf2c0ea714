/**
 * What each mixer is worth: the same model with its attention replaced, the same few optimizer steps on the same text, and the
 * perplexity of text that none has seen. Softmax is fine-tuned next to the others, so that the difference is the mixer's.
 */
import type { MixerConfig } from '../attention/mixer.ts';
import type { PackedDataset } from '../data/datasets/packing.ts';
import { LinnetError } from '../errors.ts';
import type { Tensor } from '../graph/tensor.ts';
import { linearize } from '../models/linearization/linearize.ts';
import type { CausalModel } from '../models/model.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import { causalObjective } from '../training/objectives/next-token.ts';
import type { TrainingSettings } from '../training/settings.ts';
import { train, type UpdateEvent } from '../training/trainer.ts';
import { perplexity } from '../evaluation/perplexity/perplexity.ts';
import type { EvaluationData } from '../evaluation/perplexity/scored-windows.ts';

export interface ComparisonOptions {
  readonly model: CausalModel;
  readonly parameters: ReadonlyMap<string, Tensor<'float32'>>;
  /** Mixers by the name they are reported under. */
  readonly mixers: ReadonlyMap<string, MixerConfig>;
  readonly dataset: PackedDataset;
  readonly heldOut: EvaluationData;
  readonly settings: TrainingSettings;
  readonly compile?: CompileOptions;
  readonly signal?: AbortSignal;
  readonly onUpdate?: (name: string, event: UpdateEvent) => void;
}

export interface ComparisonRow {
  readonly name: string;
  readonly mixer: MixerConfig;
  /** Held-out perplexity after conversion, before training. */
  readonly before: number;
  /** Held-out perplexity after the optimizer steps. */
  readonly after: number;
  readonly losses: readonly { readonly update: number; readonly loss: number }[];
  readonly tokensPerSecond: number;
  readonly model: CausalModel;
  readonly parameters: Map<string, Tensor<'float32'>>;
}

/**
 * Runs the comparison, a mixer at a time.
 * @throws LinnetError `ABORTED` when the signal fires
 */
export async function* compareMixers(options: ComparisonOptions): AsyncGenerator<ComparisonRow> {
  const { dataset, heldOut, settings, compile, signal } = options;
  for (const [name, mixer] of options.mixers) {
    const { model, parameters } = linearize(options.model, options.parameters, mixer);
    const measure = (current: ReadonlyMap<string, Tensor<'float32'>>): Promise<{ perplexity: number }> =>
      perplexity(model, current, heldOut, { ...compile, signal });
    const before = await measure(parameters);
    const losses: { update: number; loss: number }[] = [];
    const outcome = await train({
      model,
      objective: causalObjective(model, dataset.length),
      parameters,
      dataset,
      settings,
      compile,
      signal,
      onUpdate: (event) => {
        losses.push({ update: event.update, loss: event.loss });
        options.onUpdate?.(name, event);
      },
    });
    if (!outcome.finished) throw new LinnetError('ABORTED', `stopped while tuning ${name}`);
    const after = await measure(outcome.parameters);
    yield {
      name,
      mixer,
      before: before.perplexity,
      after: after.perplexity,
      losses,
      tokensPerSecond: outcome.tokensPerSecond ?? 0,
      model,
      parameters: outcome.parameters,
    };
  }
}
