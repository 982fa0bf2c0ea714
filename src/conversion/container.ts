/**
 * Puts Qwen3 into Qwen3.5's container, which other engines load. Attention fits exactly: gate rows are zero, so every gate is
 * ½; the output is doubled, norms' gains are stored minus one, and whole heads rotate. Layers not kept become Gated DeltaNet,
 * made from the same projections; the whole model then learns the original's predictions.
 */
import { join } from 'node:path';
import { range } from 'd3-array';
import { z } from 'zod';
import type { LoadedModel } from '../checkpoint/load-model.ts';
import { residentTensors } from '../checkpoint/stored-parameter.ts';
import { LinnetError, OptionsError } from '../errors.ts';
import { perplexity } from '../evaluation/perplexity/perplexity.ts';
import { type Tensor, tensor, type WeightMap, type Weights } from '../graph/tensor.ts';
import { describeCausalModel } from '../models/families/index.ts';
import { freshParameter } from '../models/initialize.ts';
import type { CausalModel } from '../models/model.ts';
import { Random } from '../random.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { memoryLimit } from '../training/plans/options.ts';
import type { WorkPlan } from '../training/plans/plan.ts';
import { measureOperations, operationSeconds } from '../training/step-cost.ts';
import { forget, conversionIdentity, openConversion } from './convert.ts';
import type { ConversionOptions } from './options.ts';
import { newProgress } from './progress-file.ts';
import { planStage } from './stage-plan.ts';
import { requireKept, trainStage } from './stage-training.ts';
import { requireStep } from './step-form.ts';
import { fewestSteps, isTrained, logitsLesson, type TrainingStage, type Weighted } from './stages.ts';
import type { ConversionTexts } from './texts.ts';
import { selectParameters } from '../nn/parameters.ts';

/** Fields of config.json with the same meaning in both families. */
const sameFields = [
  ...['vocab_size', 'hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads'],
  ...['num_key_value_heads', 'hidden_act', 'rms_norm_eps', 'max_position_embeddings', 'tie_word_embeddings'],
  ...['bos_token_id', 'eos_token_id', 'pad_token_id'],
];

/** `type` is the older name of `rope_type`. */
const ropeSchema = z.looseObject({ type: z.string().default('default') });

/**
 * The model in the container. @param kept layers whose attention stays @throws LinnetError `CONFIG` unless the model is a
 * Qwen3 with its own attention
 */
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
    architectures: ['Qwen3_5ForCausalLM'],
    model_type: 'qwen3_5_text',
    ...Object.fromEntries(sameFields.flatMap((name) => (json[name] === undefined ? [] : [[name, json[name]]]))),
    head_dim: headWidth,
    attention_bias: false,
    layer_types: Array.from({ length: layers }, (_, layer) =>
      kept.includes(layer) ? 'full_attention' : 'linear_attention',
    ),
    linear_num_key_heads: heads,
    linear_num_value_heads: heads,
    linear_conv_kernel_dim: 4,
    linear_key_head_dim: headWidth,
    linear_value_head_dim: headWidth,
    rope_parameters: {
      rope_type: type,
      rope_theta: theta,
      ...rope,
      partial_rotary_factor: 1,
      mrope_interleaved: true,
      mrope_section: [2, 1, 0].map((more) => Math.floor((turned + more) / 3)),
    },
  });
}

/**
 * A Qwen3 in the container: the same function if every layer is kept. @throws LinnetError like `containerModel`, `TENSOR` for
 * a missing weight
 */
export function intoQwen35(
  { model, parameters }: Weighted<Tensor<'float32'>>,
  kept: readonly number[],
): Weighted<Tensor<'float32'>> {
  const target = containerModel(model, kept);
  const made: WeightMap = new Map();
  for (const [name, declared] of target.parameters) {
    const { shape } = declared;
    const own = rules.find(([pattern]) => pattern.test(name))?.[1](name, parameters, model);
    const copied = own === undefined && !name.includes('.linear_attn.') ? parameters.get(name) : undefined;
    const found = own === undefined ? copied : tensor('float32', shape, own);
    made.set(name, found ?? freshParameter(declared, { random: new Random(1), layers: model.sizes.layers }));
  }
  return { model: target, parameters: made };
}

/** Matching parameter names, and how to make their values. */
type Rule = readonly [RegExp, (name: string, parameters: Weights, model: CausalModel) => Float32Array];

function weight(parameters: Weights, name: string): Float32Array {
  const found = parameters.get(name);
  if (found === undefined) throw new LinnetError('TENSOR', `parameter "${name}" is missing`);
  return found.data;
}

/** Longest half-life in positions: the heads' states range from one to this. */
const longestHalfLife = 512;

/** Values that are not copied. */
const rules: readonly Rule[] = [
  [
    /self_attn\.q_proj\.weight$/,
    // Head by head: queries, then gates.
    (name, parameters, { sizes }) => {
      const own = weight(parameters, name);
      const size = own.length / sizes.heads;
      const all = new Float32Array(2 * own.length);
      for (let head = 0; head < sizes.heads; head++) {
        all.set(own.subarray(head * size, (head + 1) * size), 2 * head * size);
      }
      return all;
    },
  ],
  [/self_attn\.o_proj\.weight$/, (name, parameters) => weight(parameters, name).map((x) => 2 * x)],
  [
    /(layernorm|self_attn\.[qk]_norm|model\.norm)\.weight$/,
    (name, parameters) => weight(parameters, name).map((x) => x - 1),
  ],
  [
    /linear_attn\.in_proj_qkv\.weight$/,
    (name, parameters, model) =>
      Float32Array.from(['q_proj', 'k_proj', 'v_proj'].flatMap((part) => [...headsOf(name, part, parameters, model)])),
  ],
  // Gates start as the values' projection.
  [/linear_attn\.in_proj_z\.weight$/, (name, parameters, model) => headsOf(name, 'v_proj', parameters, model)],
  [/linear_attn\.out_proj\.weight$/, (name, parameters) => weight(parameters, attentionName(name, 'o_proj')).slice()],
  [
    // A filter reads its own position.
    /linear_attn\.conv1d\.weight$/,
    (_, __, { sizes }) =>
      Float32Array.from({ length: 3 * sizes.heads * sizes.headWidth * 4 }, (___, i) => (i % 4 === 3 ? 1 : 0)),
  ],
  [
    // With dt_bias 0 and a 0 the decay is e^A·ln 2: e^−A is the half-life.
    /linear_attn\.A_log$/,
    (_, __, { sizes: { heads } }) =>
      Float32Array.from({ length: heads }, (___, head) => (-Math.log(longestHalfLife) * head) / Math.max(1, heads - 1)),
  ],
  [
    /linear_attn\.(dt_bias|in_proj_[ab]\.weight)$/,
    (name, _, { sizes: { heads, width } }) => new Float32Array(name.endsWith('bias') ? heads : heads * width),
  ],
];

function attentionName(name: string, part: string): string {
  return name.replace(/linear_attn\..*$/, `self_attn.${part}.weight`);
}

/** A projection's rows for every query head, times its norm's gains. */
function headsOf(name: string, part: string, parameters: Weights, { sizes }: CausalModel): Float32Array {
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

/** The training stage of a conversion into the container: all layers not kept learn together. */
const containerStage: TrainingStage = {
  name: 'logits',
  by: 'model',
  description: 'layers in place of attention learn what the original predicts',
  share: 1,
  lengths: 1,
  mixerRate: 1e-3,
  sharedRate: 1e-3,
  prepare(teacher, student, length) {
    const trained = new Set([...student.model.parameters.keys()].filter((name) => name.includes('.linear_attn.')));
    if (trained.size === 0) return undefined;
    return logitsLesson(teacher, student, trained, length);
  },
};

/** Teacher and student as models. @throws LinnetError like `intoQwen35`, `INPUT` for layers to keep that the model lacks */
function containerModels(model: CausalModel, { keep }: Pick<ConversionOptions, 'keep'>) {
  const all = range(model.sizes.layers);
  if (!('layers' in keep)) throw new OptionsError('`target` needs the layers to keep by number, or every:N');
  requireKept(keep.layers, all);
  return { kept: keep.layers, all, teacher: containerModel(model, all), student: containerModel(model, keep.layers) };
}

/** Plans a conversion into the container; reads no weights. @throws LinnetError like `convertIntoQwen35` */
export async function planContainer(model: CausalModel, options: Omit<ConversionOptions, 'folder'>): Promise<WorkPlan> {
  const { memoryBytes = memoryLimit(undefined), compile } = options;
  const rate = await measureOperations(compile);
  const { teacher, student } = containerModels(model, options);
  const none = { parameters: new Map() };
  const stage = planStage(containerStage, {
    ...options,
    original: { model: teacher, ...none },
    student: { model: student, ...none },
    memoryBytes,
    time: (operations) => operationSeconds(operations, rate),
  });
  return { stages: stage === undefined ? [] : [stage], memoryLimitBytes: memoryBytes };
}

/**
 * Converts a Qwen3: layers not kept learn by KL from the original's predictions, for `steps.logits` steps.
 * @throws LinnetError like `intoQwen35`, `INPUT` for a layer to keep that the model lacks, `CONFIG` for a step over the
 *   memory limit and for a budget of too few steps; `PATH`, `MISMATCH` and `ABORTED` like `convert`
 */
export async function convertIntoQwen35(
  original: LoadedModel,
  tokenizer: Tokenizer,
  texts: ConversionTexts,
  options: ConversionOptions,
): Promise<Weighted<Tensor<'float32'>>> {
  const { kept, all, ...models } = containerModels(original.model, options);
  if (kept.length === all.length || !isTrained(containerStage, options)) return intoQwen35(original, kept);
  const { folder, compile, signal } = options;
  const identity = `qwen3_5 ${conversionIdentity(original, texts.training, options)}`;
  const [taught, learner] = [models.teacher, models.student].map((model) => ({ model, parameters: new Map() }));
  requireStep(containerStage, taught, learner, options);
  const { planned } = await openConversion(options, identity, async () => {
    const { model, parameters } = original;
    const { perplexity: value } = await perplexity(model, parameters, texts.validation, { ...compile, signal });
    return newProgress({ identity, original: value, keptLayers: [...kept], sensitivity: [] });
  });
  const teacher = { ...original, ...intoQwen35(original, all) };
  const made = intoQwen35(original, kept);
  // Both models share tensors they have in common.
  const shared = [...made.parameters].map(([name, own]) => [name, teacher.parameters.get(name) ?? own] as const);
  const student = { model: made.model, parameters: new Map(shared) };
  const trained = await trainStage(containerStage, {
    teacher,
    student,
    tokenizer,
    texts,
    options,
    origin: identity,
    weights: folder,
    planned,
    folder: join(folder, containerStage.name),
  });
  if (trained === undefined) {
    await forget(folder);
    throw new OptionsError(
      `fewer than ${fewestSteps} optimizer steps fit into \`budget\`; give more time, or \`steps\``,
    );
  }
  const resident = residentTensors(trained.parameters);
  const parameters = selectParameters(resident, (name) => student.model.parameters.has(name));
  return { model: student.model, parameters };
}
