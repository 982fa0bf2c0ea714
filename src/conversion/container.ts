/**
 * Qwen3 in the container of Qwen3.5, which other engines load. Attention fits exactly: the rows of gates are zero, so that every
 * gate is ½, the output is doubled, gains of norms are stored less one, and whole heads turn. Layers that are not kept become Gated
 * DeltaNet, made of the same projections; the whole model then learns the predictions of the original.
 */
import { z } from 'zod';
import type { LoadedModel } from '../checkpoint/load-model.ts';
import { LinnetError, OptionsError, requireRunning } from '../errors.ts';
import { type Tensor, tensor } from '../graph/tensor.ts';
import { describeCausalModel } from '../models/families/index.ts';
import { freshParameter } from '../models/initialize.ts';
import type { CausalModel } from '../models/model.ts';
import { Random } from '../random.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { transferParameters } from '../training/objectives/distillation.ts';
import { logitsObjective } from '../training/objectives/logits.ts';
import { memoryLimit } from '../training/plans/options.ts';
import type { TrainingSettings } from '../training/settings.ts';
import { train } from '../training/trainer.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import { rowLength, type Weighted } from './stages.ts';
import { requireFitting, requireKept, stageSettings } from './stage-training.ts';
import { fewestSteps, stepsWithin, timedSteps } from './step-planning.ts';
import { type ConversionTexts, trainingRows } from './texts.ts';

type Parameters = ReadonlyMap<string, Tensor<'float32'>>;

/** Fields of config.json that mean the same in both families. */
const sameFields = [
  ...['vocab_size', 'hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads'],
  ...['num_key_value_heads', 'hidden_act', 'rms_norm_eps', 'max_position_embeddings', 'tie_word_embeddings'],
  ...['bos_token_id', 'eos_token_id', 'pad_token_id'],
];

/** `type` is the older name of `rope_type`. */
const ropeSchema = z.looseObject({ type: z.string().default('default') });

/** The model in the container. @param kept layers whose attention stays @throws LinnetError `CONFIG` for a model that is no Qwen3 with its own attention */
function containerModel(model: CausalModel, kept: readonly number[]): CausalModel {
  const json = model.toJson();
  if (model.family !== 'qwen3' || json.linnet !== undefined) {
    throw new LinnetError(
      'CONFIG',
      `the container of Qwen3.5 takes Qwen3 with its own attention, not a ${model.family} model`,
    );
  }
  const { layers, heads, headWidth } = model.sizes;
  const { rope_theta: theta = 10_000, rope_scaling, rope_parameters } = json;
  const { type, ...rope } = ropeSchema.parse(rope_parameters ?? rope_scaling ?? {});
  const turned = headWidth / 2;
  return describeCausalModel({
    ...{ architectures: ['Qwen3_5ForCausalLM'], model_type: 'qwen3_5_text' },
    ...Object.fromEntries(sameFields.flatMap((name) => (json[name] === undefined ? [] : [[name, json[name]]]))),
    ...{ head_dim: headWidth, attention_bias: false },
    layer_types: Array.from({ length: layers }, (_, layer) =>
      kept.includes(layer) ? 'full_attention' : 'linear_attention',
    ),
    ...{ linear_num_key_heads: heads, linear_num_value_heads: heads, linear_conv_kernel_dim: 4 },
    ...{ linear_key_head_dim: headWidth, linear_value_head_dim: headWidth },
    rope_parameters: {
      ...{ rope_type: type, rope_theta: theta, ...rope },
      ...{ partial_rotary_factor: 1, mrope_interleaved: true },
      mrope_section: [2, 1, 0].map((more) => Math.floor((turned + more) / 3)),
    },
  });
}

/** A Qwen3 in the container: the same function where every layer is kept. @throws LinnetError as `containerModel`, `TENSOR` for a missing weight */
export function intoQwen35({ model, parameters }: Weighted, kept: readonly number[]): Weighted {
  const target = containerModel(model, kept);
  const made = new Map<string, Tensor<'float32'>>();
  for (const [name, declared] of target.parameters) {
    const { shape } = declared;
    const rule = rules.find(({ pattern }) => pattern.test(name));
    const own = rule?.values(name, parameters, model);
    const copied = own === undefined && !name.includes('.linear_attn.') ? parameters.get(name) : undefined;
    const found = own === undefined ? copied : tensor('float32', shape, own);
    made.set(name, found ?? freshParameter(declared, { random: new Random(1), layers: model.sizes.layers }));
  }
  return { model: target, parameters: made };
}

interface Rule {
  readonly pattern: RegExp;
  values(name: string, parameters: Parameters, model: CausalModel): Float32Array;
}

function weight(parameters: Parameters, name: string): Float32Array {
  const found = parameters.get(name);
  if (found === undefined) throw new LinnetError('TENSOR', `parameter "${name}" is missing`);
  return found.data;
}

/** Peak learning rate of the layers that learn. */
const rate = 1e-3;

/** Half-lives of the states of the heads, from one position to this many. */
const longestHalfLife = 512;

/** Values that are not copied. */
const rules: readonly Rule[] = [
  {
    pattern: /self_attn\.q_proj\.weight$/,
    // Head by head: its queries, then its gates.
    values(name, parameters, { sizes }) {
      const own = weight(parameters, name);
      const size = own.length / sizes.heads;
      const all = new Float32Array(2 * own.length);
      for (let head = 0; head < sizes.heads; head++) {
        all.set(own.subarray(head * size, (head + 1) * size), 2 * head * size);
      }
      return all;
    },
  },
  { pattern: /self_attn\.o_proj\.weight$/, values: (name, parameters) => weight(parameters, name).map((x) => 2 * x) },
  {
    pattern: /(layernorm|self_attn\.[qk]_norm|model\.norm)\.weight$/,
    values: (name, parameters) => weight(parameters, name).map((x) => x - 1),
  },
  {
    pattern: /linear_attn\.in_proj_qkv\.weight$/,
    values: (name, parameters, model) => {
      const of = (part: string): Float32Array => headsOf(name, part, parameters, model);
      return Float32Array.from([...of('q_proj'), ...of('k_proj'), ...of('v_proj')]);
    },
  },
  {
    // The gates open with the values.
    pattern: /linear_attn\.in_proj_z\.weight$/,
    values: (name, parameters, model) => headsOf(name, 'v_proj', parameters, model),
  },
  {
    pattern: /linear_attn\.out_proj\.weight$/,
    values: (name, parameters) => weight(parameters, attentionName(name, 'o_proj')).slice(),
  },
  {
    // A filter reads its own position.
    pattern: /linear_attn\.conv1d\.weight$/,
    values: (_, __, { sizes }) =>
      Float32Array.from({ length: 3 * sizes.heads * sizes.headWidth * 4 }, (___, i) => (i % 4 === 3 ? 1 : 0)),
  },
  {
    // With dt_bias 0 and a 0 the decay is e^A·ln 2: e^−A is the half-life.
    pattern: /linear_attn\.A_log$/,
    values: (_, __, { sizes: { heads } }) =>
      Float32Array.from({ length: heads }, (___, head) => (-Math.log(longestHalfLife) * head) / Math.max(1, heads - 1)),
  },
  {
    pattern: /linear_attn\.(dt_bias|in_proj_[ab]\.weight)$/,
    values: (name, _, { sizes: { heads, width } }) => new Float32Array(name.endsWith('bias') ? heads : heads * width),
  },
];

function attentionName(name: string, part: string): string {
  return name.replace(/linear_attn\..*$/, `self_attn.${part}.weight`);
}

/** Rows of a projection for every query head, times the gains of its norm. */
function headsOf(name: string, part: string, parameters: Parameters, { sizes }: CausalModel): Float32Array {
  const { heads: H, keyValueHeads, headWidth: D, width } = sizes;
  const own = weight(parameters, attentionName(name, part));
  const gains = parameters.get(attentionName(name, part.replace('proj', 'norm')))?.data;
  const shared = part === 'q_proj' ? 1 : H / keyValueHeads;
  return Float32Array.from({ length: H * D * width }, (_, i) => {
    const row = Math.floor(i / width);
    const source = Math.floor(Math.floor(row / D) / shared) * D + (row % D);
    return own[source * width + (i % width)] * (gains?.[row % D] ?? 1);
  });
}

/** Options of a conversion into the container. */
export interface ContainerOptions {
  /** Layers whose attention stays. */
  readonly kept: readonly number[];
  /** Optimizer steps; default: as many as fit into `budget` seconds. */
  readonly steps?: number;
  readonly budget: number;
  readonly batch: number;
  readonly length?: number;
  readonly seed?: number;
  /** The most memory to take, in bytes. Default: three quarters of the available memory. */
  readonly memoryBytes?: number;
  readonly compile?: CompileOptions;
  readonly signal?: AbortSignal;
  readonly onStep?: (done: number, total: number, loss: number) => void;
}

/**
 * Converts a Qwen3: layers that are not kept learn, by KL from the predictions of the original.
 * @throws LinnetError as `intoQwen35`, `INPUT` for a layer to keep that the model does not have, `CONFIG` for a step over the limit of
 *   memory and for a budget of too few steps, `ABORTED` by the signal
 */
export async function convertIntoQwen35(
  original: LoadedModel,
  tokenizer: Tokenizer,
  texts: ConversionTexts,
  options: ContainerOptions,
): Promise<Weighted> {
  const { kept, budget, batch, seed = 0, memoryBytes = memoryLimit(undefined), compile, signal, onStep } = options;
  const all = Array.from({ length: original.model.sizes.layers }, (_, layer) => layer);
  requireKept(kept, all);
  const teacher = intoQwen35(original, all);
  const made = intoQwen35(original, kept);
  const trained = new Set([...made.parameters.keys()].filter((name) => name.includes('.linear_attn.')));
  if (trained.size === 0 || (options.steps ?? budget) <= 0) return made;
  // What both have is one tensor.
  const shared = [...made.parameters].map(([name, own]) => [name, teacher.parameters.get(name) ?? own] as const);
  const student = { model: made.model, parameters: new Map(shared) };
  const length = rowLength(student.model, options.length);
  const job = {
    model: student.model,
    parameters: transferParameters(student, teacher.parameters, trained),
    objective: logitsObjective(teacher.model, student.model, length, trained),
    dataset: await trainingRows(texts.training, tokenizer, length),
    trainable: (name: string) => trained.has(name),
    ...{ compile, signal },
  };
  const planned = (steps: number): TrainingSettings =>
    stageSettings({ mixerRate: rate, sharedRate: rate }, { steps, length, batch, seed });
  const { microBatch } = requireFitting('logits', { ...job, settings: planned(timedSteps) }, memoryBytes);
  const settings = (steps: number): TrainingSettings => ({ ...planned(steps), microBatch });
  const started = performance.now();
  const times: number[] = [];
  const onTime = ({ seconds }: { readonly seconds: number }): void => {
    times.push(seconds);
  };
  if (options.steps === undefined) await train({ ...job, settings: settings(timedSteps), onUpdate: onTime });
  requireRunning(signal, 'while steps were timed');
  const steps = options.steps ?? stepsWithin(budget, (performance.now() - started) / 1000, times);
  if (steps === 0) {
    throw new OptionsError(
      `fewer than ${fewestSteps} optimizer steps fit into \`budget\`; give more time, or \`steps\``,
    );
  }
  const outcome = await train({
    ...{ ...job, settings: settings(steps) },
    onUpdate: ({ update, loss }) => onStep?.(update, steps, loss),
  });
  requireRunning(signal, `after ${outcome.updates} of ${steps} steps`);
  const parameters = [...student.model.parameters.keys()].map((name) => [name, outcome.parameters.get(name)] as const);
  return {
    model: student.model,
    parameters: new Map(parameters.flatMap(([name, value]) => (value ? [[name, value]] : []))),
  };
}
