/** Alternatives to training all parameters at one rate: low-rank updates, and a separate rate for mixers. */
import { z } from 'zod';
import { saveAdapter } from '../../checkpoint/adapter-files.ts';
import { saveModel } from '../../checkpoint/load-model.ts';
import type { StoredParameter } from '../../checkpoint/stored-parameter.ts';
import { OptionsError } from '../../errors.ts';
import type { Model } from '../../models/families/index.ts';
import { parametersOfMixers } from '../../models/linearization/linearize.ts';
import type { ModelDescription } from '../../models/model.ts';
import { mergeLora, mergedParameters } from '../../nn/lora.ts';
import { parameterGroups, selectParameters } from '../../nn/parameters.ts';
import { formatCount } from '../../report/quantities.ts';
import type { TrainingOptions } from './options.ts';
import { described } from '../settings.ts';
import { recipe } from '../recipes.ts';
import type { TrainingPlan } from './plan.ts';
import {
  loraChoiceSchema,
  type LoraChoice,
  type WholeGroup,
  loraJson,
  loraOf,
  wholeParameters,
  trainLora,
  loraObjective,
  parseLoraChoice,
} from '../lora.ts';

/** The options of low-rank adaptation and of the mixers' rate. */
export const adaptationShape = {
  lora: described(
    loraChoiceSchema.optional(),
    'settings',
    'train low-rank updates instead of matrices: r=8,alpha=16,targets=q,k,v,o (default targets: attention)',
  ),
  loraTrain: described(
    z.array(z.enum(parameterGroups)).readonly().optional(),
    'groups',
    `parameter groups \`lora\` also trains in full, comma-separated: ${parameterGroups.join(', ')}`,
  ),
  mixerLrFactor: described(
    z.number().min(0).max(1e4).default(1),
    'factor',
    'factor on the learning rate of mixer parameters: α, λ, filter weights, feature maps',
  ),
  loraSave: described(
    z.enum(['merged', 'adapter']).optional(),
    'form',
    'form `lora` saves: merged (a model, in floats) or adapter (a PEFT folder, for linnet merge) ' +
      '(default: merged; adapter for a GGUF in codes)',
  ),
};

type AdaptationOptions = TrainingOptions & z.output<z.ZodObject<typeof adaptationShape>>;

export interface AdaptationBase {
  readonly model: Model;
  /** Path and fingerprint of the folder it was loaded from. */
  readonly path: string;
  readonly fingerprint: string;
  /** PEFT's name of the task. */
  readonly task: string;
  /** Parameters that stay in their folder, if the model is trained layer by layer. */
  readonly stored?: ReadonlyMap<string, StoredParameter>;
  /** Parameters of a fresh head, always trained whole. */
  readonly fresh?: ReadonlySet<string>;
}

/** The adaptation from options and recipe; undefined if all parameters are trained. */
export interface ChosenAdaptation {
  readonly choice: LoraChoice;
  readonly whole: readonly WholeGroup[];
}

/** @throws OptionsError for low-rank options without low-rank adaptation */
export function chosenAdaptation(
  options: Pick<AdaptationOptions, 'lora' | 'loraTrain' | 'loraSave' | 'recipe'>,
): ChosenAdaptation | undefined {
  const preset = options.recipe && recipe(options.recipe).lora;
  const choice = options.lora ?? (preset && parseLoraChoice(preset.choice));
  const whole = options.loraTrain ?? (choice && preset?.whole) ?? [];
  if (choice !== undefined) return { choice, whole };
  if (whole.length > 0) throw new OptionsError('`loraTrain` needs `lora`');
  if (options.loraSave === 'adapter') throw new OptionsError('`loraSave` is adapter, which needs `lora`');
  return undefined;
}

/** The plan with a separate rate for the mixers' parameters. */
export function planMixerRate(plan: TrainingPlan, factor: number, model: ModelDescription): TrainingPlan {
  if (factor === 1) return plan;
  const mixers = parametersOfMixers(model);
  return {
    ...plan,
    rateFactor: (name) => (mixers.has(name) ? factor : 1),
    configuration: { ...plan.configuration, mixerLrFactor: factor },
    variant: { ...plan.variant, mixerLrFactor: factor },
  };
}

/** The plan with updates instead of matrices. @throws OptionsError for an adapter with a fresh head */
export function planLora(
  plan: TrainingPlan,
  { choice, whole: groups }: ChosenAdaptation,
  { loraSave = 'merged', dtype, replace, seed = 0 }: Pick<AdaptationOptions, 'loraSave' | 'dtype' | 'replace' | 'seed'>,
  { model, path, fingerprint, task, stored, fresh = new Set() }: AdaptationBase,
): TrainingPlan {
  if (loraSave === 'adapter' && fresh.size > 0) {
    throw new OptionsError('`loraSave` is adapter, which has no place for a new head and its labels; take merged');
  }
  const lora = loraOf(model, choice);
  const whole = new Set([...wholeParameters(model, groups), ...fresh]);
  const adapted = trainLora(plan, lora, whole, seed);
  return {
    ...adapted,
    heldOutRows:
      plan.heldOutRows &&
      (async () => {
        const { dataset, objective } = (await plan.heldOutRows?.()) ?? adapted;
        return { dataset, objective: loraObjective(objective, lora) };
      }),
    summary: `${plan.summary}; updates of rank ${lora.rank} for ${formatCount(lora.matrices.size)} matrices, saved ${loraSave === 'merged' ? `merged, as a model in ${dtype}` : 'as an adapter'}`,
    configuration: {
      ...plan.configuration,
      lora: loraJson(lora, whole),
    },
    async save(out, trained) {
      if (loraSave === 'merged' && stored !== undefined) {
        const parameters = mergedParameters(lora, trained, stored);
        await saveModel(out, { model, parameters }, { tokenizerFiles: { from: path }, dtype, replace });
        return {};
      }
      if (loraSave === 'merged') return plan.save(out, mergeLora(lora, trained));
      await saveAdapter(
        out,
        { model, fingerprint },
        { lora, parameters: selectParameters(trained, adapted.trainable ?? (() => true)) },
        { basePath: path, task, dtype, replace },
      );
      return { adapter: true };
    },
  };
}
