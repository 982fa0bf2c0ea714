/** Alternatives to training all parameters at one rate: low-rank updates, and mixers at a rate of their own. */
import { z } from 'zod';
import { saveAdapter } from '../../checkpoint/adapter-files.ts';
import { saveModel } from '../../checkpoint/load-model.ts';
import type { StoredParameter } from '../../checkpoint/stored-parameter.ts';
import { LinnetError, OptionsError } from '../../errors.ts';
import type { Model } from '../../models/families/index.ts';
import { freshMixerParameters } from '../../models/linearization/linearize.ts';
import type { ModelDescription } from '../../models/model.ts';
import {
  type Lora,
  initializeLora,
  isLoraParameter,
  loraLimits,
  loraParameters,
  mergeLora,
  mergedParameters,
  selectMatrices,
  targetOf,
  withLora,
} from '../../nn/lora.ts';
import {
  type DeclaredParameter,
  type ParameterGroup,
  consequencesOf,
  parameterGroups,
  selectParameters,
} from '../../nn/parameters.ts';
import { formatCount } from '../../report/quantities.ts';
import { type TrainingOptions, described, recipe } from './options.ts';
import type { TrainingPlan } from './plan.ts';
import { validated } from '../../files/schema-problems.ts';
import { weightMatrices } from '../../models/graphs/weight-matrices.ts';
import { Random } from '../../random.ts';
import type { Objective } from '../objectives/next-token.ts';
import type { TrainingJob } from '../trainer.ts';

// Training low-rank updates instead of matrices, together with small groups trained whole: norms, embeddings, mixers.

const loraDefaults = { rank: 8, alpha: 16 } as const;

const targetNames = z
  .array(z.string().regex(/^[\w.]+$/))
  .min(1)
  .readonly();

/** Options of low-rank adaptation. */
const loraChoiceSchema = z.strictObject({
  /** Default 8 (paper). */
  rank: z.int().min(1).max(loraLimits.rank).default(loraDefaults.rank),
  /** Default 16 (paper). */
  alpha: z.number().positive().max(1e6).default(loraDefaults.alpha),
  /** Names for `selectMatrices`; default the matrices of the attentions. */
  targets: targetNames.optional(),
});

/** Rank, α and matrices of a low-rank adaptation. */
export type LoraChoice = z.output<typeof loraChoiceSchema>;

/**
 * Groups of parameters that are trained whole next to the updates. The paper's LLaMA recipe trains all three: norms and
 * embeddings (after LongLoRA, arXiv 2309.12307), α and the convolution's filter weights.
 */
export type WholeGroup = ParameterGroup;

/** The adaptation of a model by a choice. @throws LinnetError `CONFIG` for targets that the model lacks */
export function loraOf(model: Model, { rank, alpha, targets }: LoraChoice): Lora {
  const matrices = weightMatrices(model);
  const attentions = model.mixers.map((_, index) => `${model.attentionPrefix(index)}.`);
  const chosen =
    targets ??
    new Set([...matrices.keys()].filter((name) => attentions.some((prefix) => name.startsWith(prefix))).map(targetOf));
  return { rank, alpha, matrices: selectMatrices(matrices, [...chosen]) };
}

/** The names of the parameters in the groups. */
export function wholeParameters(model: ModelDescription, groups: readonly WholeGroup[]): ReadonlySet<string> {
  const isMember = ([, { role }]: readonly [string, DeclaredParameter]): boolean => {
    const { group } = consequencesOf(role);
    return group !== null && groups.includes(group);
  };
  return new Set([...model.parameters].filter(isMember).map(([name]) => name));
}

/** The trained part of a job. */
type Subject = Pick<TrainingJob, 'model' | 'parameters' | 'objective' | 'trainable' | 'variant'>;

/**
 * The job with updates in the place of its matrices: the model has their parameters too, the objective reads through
 * them, and only they are trained, with the parameters named in `whole`.
 *
 * @param seed draws A
 */
export function trainLora<Job extends Subject>(job: Job, lora: Lora, whole: ReadonlySet<string>, seed: number): Job {
  const { model, parameters, objective, variant } = job;
  return {
    ...job,
    model: {
      parameters: new Map([...model.parameters, ...loraParameters(lora)]),
      toJson: () => model.toJson(),
    },
    parameters: new Map([...initializeLora(lora, new Random(seed)), ...parameters]),
    objective: loraObjective(objective, lora),
    trainable: (name) => isLoraParameter(name) || whole.has(name),
    variant: {
      ...variant,
      lora: { rank: lora.rank, alpha: lora.alpha, matrices: [...lora.matrices.keys()], whole: [...whole] },
    },
  };
}

/** An objective of the matrices with their updates. */
function loraObjective(objective: Objective, lora: Lora): Objective {
  return { ...objective, loss: (source, batch) => objective.loss(withLora(source, lora), batch) };
}

const choiceSchema = z.strictObject({
  r: z.coerce.number().int().min(1).max(loraLimits.rank).default(loraDefaults.rank),
  alpha: z.coerce.number().positive().max(1e6).optional(),
  targets: targetNames.optional(),
});

/**
 * Reads `r=8,alpha=16,targets=q,k,v,o`; all parts may be left out, α is 2r then.
 * @throws LinnetError `CONFIG` naming the fault
 */
export function parseLoraChoice(text: string): LoraChoice {
  const fields = new Map<string, string[]>();
  let current: string[] | undefined;
  for (const part of text.split(',').map((word) => word.trim())) {
    const equals = part.indexOf('=');
    if (equals >= 0) {
      const key = part.slice(0, equals);
      if (fields.has(key)) throw new LinnetError('CONFIG', `"${text}" says "${key}" twice`);
      current = [part.slice(equals + 1)];
      fields.set(key, current);
    } else if (current === undefined) {
      throw new LinnetError('CONFIG', `"${text}" begins with "${part}"; expected r=8,alpha=16,targets=q,k,v,o`);
    } else {
      current.push(part);
    }
  }
  const { targets, ...single } = Object.fromEntries(fields);
  const given = { ...Object.fromEntries(Object.entries(single).map(([key, parts]) => [key, parts.join(',')])) };
  const choice = { ...given, ...(targets && { targets }) };
  const parsed = validated(choiceSchema, choice, 'CONFIG', `"${text}" is not a valid low-rank adaptation`);
  const { r, alpha = 2 * r } = parsed;
  return { rank: r, alpha, targets: parsed.targets };
}

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
    `what \`lora\` trains whole besides, with commas: ${parameterGroups.join(', ')}`,
  ),
  mixerLrFactor: described(
    z.number().min(0).max(1e4).default(1),
    'factor',
    'what the learning rate is multiplied by for parameters of mixers: α, λ, filter weights, feature maps',
  ),
  loraSave: described(
    z.enum(['merged', 'adapter']).optional(),
    'form',
    'what `lora` saves: merged (a model, in floats) or adapter (a PEFT folder, for linnet merge) ' +
      '(default: merged; adapter of a GGUF in codes)',
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
  /** Parameters of a model that is trained layer by layer, and stays in its folder. */
  readonly stored?: ReadonlyMap<string, StoredParameter>;
  /** Parameters of a fresh head, always trained whole. */
  readonly fresh?: ReadonlySet<string>;
}

/** The adaptation that options and their recipe ask for; undefined where all parameters are trained. */
export interface ChosenAdaptation {
  readonly choice: LoraChoice;
  readonly whole: readonly WholeGroup[];
}

/** @throws OptionsError for options of low-rank adaptation where there is none */
export function chosenAdaptation(
  options: Pick<AdaptationOptions, 'lora' | 'loraTrain' | 'loraSave' | 'recipe'>,
): ChosenAdaptation | undefined {
  const preset = options.recipe === undefined ? undefined : recipe(options.recipe).lora;
  const choice = options.lora ?? (preset && parseLoraChoice(preset.choice));
  const whole = options.loraTrain ?? (choice && preset?.whole) ?? [];
  if (choice !== undefined) return { choice, whole };
  if (whole.length > 0) throw new OptionsError('`loraTrain` is of low-rank adaptation; give `lora` too');
  if (options.loraSave === 'adapter') throw new OptionsError('an adapter, as `loraSave` says, needs `lora`');
  return undefined;
}

/** The plan with a rate of their own for the mixers' parameters. */
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

/** The plan with updates instead of matrices. */
export function planLora(
  plan: TrainingPlan,
  { choice, whole: groups }: ChosenAdaptation,
  { loraSave = 'merged', dtype, replace, seed = 0 }: Pick<AdaptationOptions, 'loraSave' | 'dtype' | 'replace' | 'seed'>,
  { model, path, fingerprint, task, stored, fresh = new Set() }: AdaptationBase,
): TrainingPlan {
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
    summary: `${plan.summary}; updates of rank ${lora.rank} for ${formatCount(lora.matrices.size)} matrices`,
    configuration: {
      ...plan.configuration,
      lora: { rank: lora.rank, alpha: lora.alpha, matrices: [...lora.matrices.keys()], whole: [...whole] },
    },
    async save(out, trained) {
      if (loraSave === 'merged' && stored !== undefined) {
        const merged = mergedParameters(lora, trained, stored);
        await saveModel(out, { model, parameters: merged }, { tokenizerFiles: { from: path }, dtype, replace });
        return {};
      }
      if (loraSave === 'merged') return plan.save(out, mergeLora(lora, trained));
      const { trainable = () => true } = adapted;
      const parameters = selectParameters(trained, trainable);
      await saveAdapter(out, { model, fingerprint }, { lora, parameters }, { basePath: path, task, dtype, replace });
      return { adapter: true };
    },
  };
}
