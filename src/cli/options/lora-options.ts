/** Options of low-rank adaptation, and what they make of a training plan. */
import { saveAdapter } from '../../checkpoint/adapter-files.ts';
import type { Model } from '../../models/families.ts';
import { freshMixerParameters } from '../../models/linearize.ts';
import type { ModelDescription } from '../../models/model.ts';
import { mergeLora } from '../../nn/lora.ts';
import { formatCount } from '../../report/quantities.ts';
import {
  type LoraChoice,
  loraOf,
  parseLoraChoice,
  trainLora,
  type WholeGroup,
  wholeGroupNames,
  wholeParameters,
} from '../../training/lora.ts';
import { z } from 'zod';
import { LinnetError } from '../../errors.ts';
import { type RecipeName, recipe } from '../../training/recipes.ts';
import { optional, withDefault } from '../framework/command.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { choice, decimal, type ValueKind, wordList } from '../framework/option-values.ts';
import type { TrainingPlan } from '../training-run.ts';

/** A low-rank adaptation: `r=8,alpha=16,targets=q,k,v,o`. */
const loraChoice: ValueKind<LoraChoice> = {
  schema: z.string().transform((given, context) => {
    try {
      return parseLoraChoice(given);
    } catch (error) {
      if (!(error instanceof LinnetError)) throw error;
      context.addIssue({ code: 'custom', message: error.message });
      return z.NEVER;
    }
  }),
  expects: 'r, alpha and targets, such as r=8,alpha=16,targets=q,k,v,o',
};

export const loraOptions = {
  lora: optional(loraChoice, {
    placeholder: 'settings',
    description:
      'train low-rank updates instead of matrices: r=8,alpha=16,targets=q,k,v,o (default targets: attention)',
  }),
  loraTrain: optional(wordList(wholeGroupNames), {
    placeholder: 'groups',
    description: `what --lora trains whole besides, with commas: ${wholeGroupNames.join(', ')}`,
  }),
  mixerLrFactor: withDefault(decimal({ min: 0, max: 1e4 }), 1, {
    placeholder: 'factor',
    description: 'what the learning rate is multiplied by for parameters of mixers: α, λ, taps, feature maps',
  }),
  loraSave: withDefault(choice(['merged', 'adapter']), 'merged', {
    placeholder: 'form',
    description: 'what --lora saves: merged (a model) or adapter (a PEFT folder, for linnet merge)',
  }),
};

export interface LoraValues {
  readonly lora?: LoraChoice;
  readonly loraTrain?: readonly WholeGroup[];
  readonly loraSave: 'merged' | 'adapter';
}

/** What the adaptation is of. */
export interface LoraBase {
  readonly model: Model;
  /** Path and fingerprint of the folder it was loaded from. */
  readonly path: string;
  readonly fingerprint: string;
  /** What PEFT calls the task. */
  readonly task: string;
  /** Parameters that are always trained whole: those of a fresh head. */
  readonly fresh?: ReadonlySet<string>;
}

/** The plan with a rate of their own for the mixers' parameters, where --mixer-lr-factor says so. */
export function planMixerRate(plan: TrainingPlan, factor: number, model: ModelDescription): TrainingPlan {
  if (factor === 1) return plan;
  const mixers = new Set(freshMixerParameters(model).keys());
  return {
    ...plan,
    rateFactor: (name) => (mixers.has(name) ? factor : 1),
    configuration: { ...plan.configuration, mixerLrFactor: factor },
    variant: { ...plan.variant, mixerLrFactor: factor },
  };
}

/** The plan with updates instead of matrices where --lora asks for them; otherwise the plan. */
export function planLora(
  plan: TrainingPlan,
  values: LoraValues & {
    readonly dtype: 'F32' | 'F16' | 'BF16';
    readonly replace: boolean;
    readonly seed: number;
    readonly recipe?: RecipeName;
  },
  { model, path, fingerprint, task, fresh = new Set() }: LoraBase,
): TrainingPlan {
  const { loraSave, dtype, replace, seed } = values;
  const preset = values.recipe === undefined ? undefined : recipe(values.recipe).lora;
  const asked = values.lora ?? (preset && parseLoraChoice(preset.choice));
  const loraTrain = values.loraTrain ?? (asked && preset?.whole) ?? [];
  if (asked === undefined) {
    if (loraTrain.length > 0) throw new UsageError('--lora-train is of low-rank adaptation; give --lora too');
    if (loraSave === 'adapter') throw new UsageError('--lora-save adapter needs --lora');
    return plan;
  }
  const lora = loraOf(model, asked);
  const whole = new Set([...wholeParameters(model, loraTrain), ...fresh]);
  const adapted = trainLora(plan, lora, whole, seed);
  return {
    ...adapted,
    summary: `${plan.summary}; updates of rank ${lora.rank} for ${formatCount(lora.matrices.size)} matrices`,
    configuration: {
      ...plan.configuration,
      lora: { rank: lora.rank, alpha: lora.alpha, matrices: [...lora.matrices.keys()], whole: [...whole] },
    },
    async save(out, trained) {
      if (loraSave === 'merged') return plan.save(out, mergeLora(lora, trained));
      const { trainable = () => true } = adapted;
      const parameters = new Map([...trained].filter(([name]) => trainable(name)));
      await saveAdapter(out, { model, fingerprint }, { lora, parameters }, { basePath: path, task, dtype, replace });
      return { adapter: true };
    },
  };
}
