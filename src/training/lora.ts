/** Training low-rank updates instead of matrices, together with small groups trained whole: norms, embeddings, mixers. */
import { z } from 'zod';
import { LinnetError } from '../errors.ts';
import { validated } from '../files/schema-problems.ts';
import type { Model } from '../models/families/index.ts';
import type { ModelDescription } from '../models/model.ts';
import { weightMatrices } from '../models/graphs/weight-matrices.ts';
import {
  initializeLora,
  isLoraParameter,
  type Lora,
  loraLimits,
  loraParameters,
  selectMatrices,
  targetOf,
  withLora,
} from '../nn/lora.ts';
import { consequencesOf, type DeclaredParameter, type ParameterGroup } from '../nn/parameters.ts';
import { Random } from '../random.ts';
import type { Objective } from './objectives/next-token.ts';
import type { TrainingJob } from './trainer.ts';
import { positiveNumber, whole } from '../files/schema-values.ts';

const loraDefaults = { rank: 8, alpha: 16 } as const;

const targetNames = z
  .array(z.string().regex(/^[\w.]+$/))
  .min(1)
  .readonly();

/** Options of low-rank adaptation. */
export const loraChoiceSchema = z.strictObject({
  /** Default 8 (paper). */
  rank: whole(1, loraLimits.rank).default(loraDefaults.rank),
  /** Default 16 (paper). */
  alpha: positiveNumber.max(1e6).default(loraDefaults.alpha),
  /** Names for `selectMatrices`; default the matrices of the attentions. */
  targets: targetNames.optional(),
});

/** Rank, α and matrices of a low-rank adaptation. */
export type LoraChoice = z.output<typeof loraChoiceSchema>;

/**
 * Parameter groups trained in full next to the updates. The paper's LLaMA recipe trains all three: norms and
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
    variant: { ...variant, lora: loraJson(lora, whole) },
  };
}

/** An adaptation as recorded in runs. */
export function loraJson({ rank, alpha, matrices }: Lora, whole: ReadonlySet<string>) {
  return { rank, alpha, matrices: [...matrices.keys()], whole: [...whole] };
}

/** An objective of the matrices with their updates. */
export function loraObjective(objective: Objective, lora: Lora): Objective {
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
  const choice = Object.fromEntries(
    Array.from(fields, ([key, parts]) => [key, key === 'targets' ? parts : parts.join(',')]),
  );
  const parsed = validated(choiceSchema, choice, 'CONFIG', `"${text}" is not a valid low-rank adaptation`);
  const { r: rank, alpha = 2 * rank, targets } = parsed;
  return { rank, alpha, targets };
}
