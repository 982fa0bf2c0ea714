/**
 * Compares speculative text with sequential text: random models with every mixer that decodes, random prompts, all drafters, greedy.
 * `npx tsx scripts/exactness.ts --models 300 --texts 1 --tokens 64 --seed 1`. Drafters learn across a model's texts.
 * Counts tokens and differences; expects none. On a difference it prints how to repeat it and exits with code 1.
 */
import { parseArgs } from 'node:util';
import { isExchangeable } from '../src/attention/mixers.ts';
import { DecodingEngine } from '../src/decoding/engine.ts';
import { generateToEnd } from '../test/decoding/generated.ts';
import { CombinedDrafter } from '../src/decoding/speculation/drafters/combined-drafter.ts';
import type { Drafter } from '../src/decoding/speculation/drafters/drafter.ts';
import { MedusaDrafter } from '../src/decoding/speculation/drafters/medusa-drafter.ts';
import { ModelDrafter } from '../src/decoding/speculation/drafters/model-drafter.ts';
import { drafterMakers, LearnedTexts, lookupDrafter } from '../src/decoding/speculation/drafters/registry.ts';
import { ReferenceDrafter } from '../src/decoding/speculation/drafters/reference-drafter.ts';
import { speculative } from '../src/decoding/speculation/speculative.ts';
import { LinnetError } from '../src/errors.ts';
import { describeModel, requireCausal } from '../src/models/families/index.ts';
import { initializeParameters } from '../src/models/initialize.ts';
import { MedusaHeads } from '../src/models/medusa/medusa-heads.ts';
import { initializeMedusa } from '../src/models/medusa/medusa.ts';
import type { CausalModel } from '../src/models/model.ts';
import { Random } from '../src/random.ts';
import { examplesWith } from '../test/attention/mixer-examples.ts';
import { tinyConfig } from '../test/models/tiny-model.ts';

const { values } = parseArgs({
  options: {
    models: { type: 'string', default: '300' },
    texts: { type: 'string', default: '1' },
    tokens: { type: 'string', default: '64' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '600' },
    drafters: { type: 'string' },
    families: {
      type: 'string',
      default: 'llama,gpt2,qwen3,mistral,lfm2,gemma3_text,qwen3_5_text,granitemoehybrid,olmo_hybrid',
    },
  },
});
const seed = Number(values.seed);
const maxTokens = Number(values.tokens);
const only = values.drafters?.split(',');
const deadline = performance.now() + Number(values.minutes) * 60_000;

const examples = examplesWith('recurrent').filter(({ kind }) => kind.family === undefined);
const families = values.families.split(',');
const compile = { threads: 1 };

/** A model with random sizes and weights, and random mixers in each layer. */
function randomModel(random: Random, vocabulary: number): CausalModel {
  const family = families[random.integer(families.length)];
  const D = 2 * (1 + random.integer(4));
  const H = 2 * (1 + random.integer(2));
  const layers = 1 + random.integer(3);
  const M = random.integer(2) === 0 ? H : H / 2;
  const ends = { vocab_size: vocabulary, bos_token_id: 0, eos_token_id: 1 };
  const sizes =
    family === 'gpt2'
      ? { n_embd: D * H, n_layer: layers, n_head: H, n_positions: 512 }
      : {
          ...{ hidden_size: D * H, num_hidden_layers: layers, num_attention_heads: H, num_key_value_heads: M },
          ...{ intermediate_size: 16, max_position_embeddings: 512 },
          ...(family === 'qwen3' && { head_dim: D }),
          ...(family === 'gemma3_text' && randomWindows(random, layers, D)),
          ...(family === 'lfm2' && randomConvolutions(random, layers)),
          ...(family === 'qwen3_5_text' && randomDeltaNets(random, D)),
          ...(family === 'olmo_hybrid' && randomStates(random)),
          ...(family === 'granitemoehybrid' && randomMamba(random, layers, D * H)),
        };
  const model = requireCausal(describeModel({ ...tinyConfig(family), ...sizes, ...ends }));
  if (random.integer(8) === 0) return model; // with its own attention
  return model.withMixers(
    model.mixers.map((own) => (isExchangeable(own) ? examples[random.integer(examples.length)].config : own)),
  );
}

function randomDeltaNets(random: Random, D: number): Readonly<Record<string, unknown>> {
  const keyHeads = 1 + random.integer(2);
  const interval = 1 + random.integer(4);
  return {
    head_dim: D,
    partial_rotary_factor: 1,
    full_attention_interval: interval,
    ...randomStates(random, keyHeads),
  };
}

function randomStates(random: Random, keyHeads = 1 + random.integer(2)): Readonly<Record<string, unknown>> {
  return {
    ...{ linear_num_key_heads: keyHeads, linear_num_value_heads: keyHeads * (1 + random.integer(3)) },
    ...{ linear_key_head_dim: 1 + random.integer(8), linear_value_head_dim: 1 + random.integer(8) },
    linear_conv_kernel_dim: 1 + random.integer(5),
  };
}

/** Windows in about two thirds of the layers, and caps on every second head. */
function randomWindows(random: Random, layers: number, D: number): Readonly<Record<string, unknown>> {
  const types = Array.from({ length: layers }, () =>
    random.integer(3) === 0 ? 'full_attention' : 'sliding_attention',
  );
  const capped = random.integer(2) === 1 && { final_logit_softcapping: 5 };
  return { head_dim: D, layer_types: types, sliding_window: 1 + random.integer(20), ...capped };
}

/** Attention in about a third of the layers. */
function randomMamba(random: Random, layers: number, width: number): Readonly<Record<string, unknown>> {
  const [groups, headWidth] = [1 + random.integer(2), 1 + random.integer(6)];
  const heads = groups * (1 + random.integer(3));
  return {
    layer_types: Array.from({ length: layers }, () => (random.integer(3) === 0 ? 'attention' : 'mamba')),
    ...{ mamba_n_heads: heads, mamba_d_head: headWidth, mamba_n_groups: groups, mamba_d_state: 1 + random.integer(8) },
    ...{ mamba_expand: (heads * headWidth) / width, mamba_d_conv: 1 + random.integer(5) },
    ...{ mamba_conv_bias: random.integer(2) === 0, position_embedding_type: random.integer(2) === 0 ? 'rope' : 'nope' },
  };
}

/** Attention in about a third of the layers. */
function randomConvolutions(random: Random, layers: number): Readonly<Record<string, unknown>> {
  const attentions = Array.from({ length: layers }, (_, layer) => layer).filter(() => random.integer(3) === 0);
  return { full_attn_idxs: attentions, conv_L_cache: 1 + random.integer(5), conv_bias: random.integer(2) === 1 };
}

const totals = new Map<string, { texts: number; tokens: number; steps: number; differing: number }>();
let models = 0;
let refused = 0;
for (let number = 0; models < Number(values.models) && performance.now() < deadline; number++) {
  const random = new Random(Math.imul(seed, 0x9e3779b1) ^ number);
  const vocabulary = 8 + random.integer(57);
  let model: CausalModel;
  try {
    model = randomModel(random, vocabulary);
  } catch (error) {
    if (!(error instanceof LinnetError)) throw error;
    if (++refused > 10 * (models + 10)) throw error;
    continue; // this model cannot have the mixer
  }
  const parameters = initializeParameters(model, random, 0.5);
  const helper = requireCausal(
    describeModel({ ...tinyConfig('llama'), vocab_size: vocabulary, bos_token_id: 0, eos_token_id: 1 }),
  );
  await using engine = await DecodingEngine.create(model, parameters, compile);
  await using small = await DecodingEngine.create(helper, initializeParameters(helper, random, 0.5), compile);
  const config = { heads: 3, layers: 1 };
  await using heads = await MedusaHeads.create(
    ...([config, model.sizes, initializeMedusa(config, model, parameters), compile] as const),
  );
  models++;
  if (models % 20 === 0) console.log(`${models} models`);
  const learned = new LearnedTexts();
  for (let text = 0; text < Number(values.texts); text++) {
    const promptTokens = Array.from({ length: 1 + random.integer(40) }, () => random.integer(vocabulary));
    const options = { promptTokens, maxTokens, ignoreEos: true };
    const expected = await generateToEnd(engine, options);
    const truth = [...promptTokens, ...expected.tokens];
    const paths = [[0], [1], [2], [0, 0], [0, 1], [1, 0], [0, 0, 0], [0, 0, 0, 0]];
    const reference = (): Drafter => new ReferenceDrafter(truth, vocabulary, { paths, hitRate: 0.7, seed: number });
    const drafters: Record<string, () => Drafter> = {
      lookup: () => lookupDrafter(),
      medusa: () =>
        new MedusaDrafter(
          heads,
          paths.filter(({ length }) => length <= config.heads),
        ),
      draft: () => new ModelDrafter(small, vocabulary, { depth: 3, width: 2 }),
      reference,
      suffix: () => drafterMakers.suffix(learned),
      recycle: () => drafterMakers.recycle(learned),
      auto: () => drafterMakers.auto(learned),
      'lookup+reference': () => new CombinedDrafter([lookupDrafter(), reference()]),
    };
    for (const [name, make] of Object.entries(drafters)) {
      if (only !== undefined && !only.includes(name)) continue;
      const drafter = make();
      const result = await generateToEnd(engine, { ...options, method: speculative(drafter) });
      const differing = result.tokens.filter((token, at) => token !== expected.tokens[at]).length;
      const before = totals.get(name) ?? { texts: 0, tokens: 0, steps: 0, differing: 0 };
      totals.set(name, {
        texts: before.texts + 1,
        tokens: before.tokens + result.tokens.length,
        steps: before.steps + result.steps,
        differing: before.differing + differing + Math.abs(result.tokens.length - expected.tokens.length),
      });
      if (differing > 0) console.log(`seed ${seed}, model ${number}, ${name}: ${differing} tokens differ`);
    }
  }
}
const sum = { texts: 0, tokens: 0, steps: 0, differing: 0 };
for (const [name, row] of totals) {
  console.log(
    `${name.padEnd(18)} ${row.texts} texts, ${row.tokens} tokens in ${row.steps} steps, ${row.differing} differ`,
  );
  for (const key of ['texts', 'tokens', 'steps', 'differing'] as const) sum[key] += row[key];
}
console.log(
  `seed ${seed}: ${models} random models (${refused} impossible combinations skipped), ${sum.tokens} ` +
    `speculative tokens in ${sum.steps} steps: ${sum.differing} differ from sequential text`,
);
process.exitCode = sum.differing > 0 ? 1 : 0;
