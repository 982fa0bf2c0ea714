/** What follows from the roles that families declare, parameter by parameter. */
import { describe, expect, it } from 'vitest';
import { tinyConfig } from './tiny-model.ts';
import { consequencesOf } from '../../src/nn/parameters.ts';
import { wholeParameters } from '../../src/training/lora.ts';
import { transferredParameters } from '../../src/training/objectives/distillation.ts';
import { mixerPreset } from '../../src/attention/presets.ts';
import { Random } from '../../src/random.ts';
import {
  describeCausalModel,
  describeModel,
  requireCausal,
  supportedFamilies,
} from '../../src/models/families/index.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import { isExchangeable } from '../../src/attention/mixers.ts';
import { freshMixerParameters } from '../../src/models/linearization/linearize.ts';

function augmented(family: string) {
  const plain = describeModel(tinyConfig(family));
  const mixer = mixerPreset('augmented', { group: 4, kernel: 5 });
  const isCross = (index: number): boolean =>
    plain.kind === 'encoder-decoder' && plain.attentions[index].part === 'cross';
  return plain.withMixers(
    plain.mixers.map((native, index) => (isCross(index) || !isExchangeable(native) ? native : mixer)),
  );
}

/** The attention of the second layer. */
const attention = 'model.layers.1.self_attn';

describe('weight decay', () => {
  it('applies to matrices and leaves scales alone', () => {
    const { parameters } = augmented('llama');
    const decays = (name: string): boolean | undefined => {
      const parameter = parameters.get(name);
      return parameter && consequencesOf(parameter.role).decays;
    };
    expect(decays('model.layers.0.mlp.up_proj.weight')).toBe(true);
    expect(decays('model.embed_tokens.weight')).toBe(true);
    expect(decays('model.layers.0.input_layernorm.weight')).toBe(false);
    expect(decays('model.layers.0.self_attn.global_factor')).toBe(false);
    expect(decays('model.layers.0.self_attn.dwconv.weight')).toBe(false);
  });

  it('applies to the projections of Linformer, which are matrices, and not to learned feature maps', () => {
    const plain = describeCausalModel(tinyConfig('llama'));
    const decaying = (preset: string): string[] => {
      const { parameters } = plain.withMixers(plain.mixers.map(() => mixerPreset(preset)));
      return [...parameters].flatMap(([name, { role }]) =>
        consequencesOf(role).decays && consequencesOf(role).group === 'mixers' ? [name] : [],
      );
    };
    expect(decaying('linformer').filter((name) => name.startsWith(attention))).toEqual([
      `${attention}.linformer_k.weight`,
      `${attention}.linformer_v.weight`,
    ]);
    expect(decaying('hedgehog')).toEqual([]);
  });
});

/** Norms and embeddings of a family; of norms those of the model, and those of every layer. */
interface Groups {
  readonly norms: readonly string[];
  readonly layerNorms: (layer: number) => readonly string[];
  readonly embeddings: readonly string[];
}

const weights = (names: readonly string[]): string[] => names.map((name) => `${name}.weight`);
const both = (names: readonly string[]): string[] => names.flatMap((name) => [`${name}.weight`, `${name}.bias`]);

const roberta: Groups = {
  norms: both(['roberta.embeddings.LayerNorm', 'lm_head.layer_norm']),
  layerNorms: (layer) =>
    both(['attention.output', 'output'].map((name) => `roberta.encoder.layer.${layer}.${name}.LayerNorm`)),
  embeddings: ['word', 'position', 'token_type'].map((name) => `roberta.embeddings.${name}_embeddings.weight`),
};

const decoder: Groups = {
  norms: ['model.norm.weight'],
  layerNorms: (layer) =>
    weights(['input_layernorm', 'post_attention_layernorm'].map((name) => `model.layers.${layer}.${name}`)),
  embeddings: ['model.embed_tokens.weight'],
};

/** @param root of the names of the model */
const deltaNets = (root: string): Groups => ({
  norms: [`${root}.norm.weight`],
  layerNorms: (layer) =>
    weights(
      [
        ...['input_layernorm', 'post_attention_layernorm'],
        ...(layer === 1 ? ['self_attn.q_norm', 'self_attn.k_norm'] : ['linear_attn.norm']),
      ].map((name) => `${root}.layers.${layer}.${name}`),
    ),
  embeddings: [`${root}.embed_tokens.weight`],
});

const groups: Readonly<Record<string, Groups>> = {
  bert: {
    norms: both(['bert.embeddings.LayerNorm', 'cls.predictions.transform.LayerNorm']),
    layerNorms: (layer) =>
      both(['attention.output', 'output'].map((name) => `bert.encoder.layer.${layer}.${name}.LayerNorm`)),
    embeddings: ['word', 'position', 'token_type'].map((name) => `bert.embeddings.${name}_embeddings.weight`),
  },
  distilbert: {
    norms: both(['distilbert.embeddings.LayerNorm', 'vocab_layer_norm']),
    layerNorms: (layer) =>
      both(['sa_layer_norm', 'output_layer_norm'].map((name) => `distilbert.transformer.layer.${layer}.${name}`)),
    embeddings: ['word', 'position'].map((name) => `distilbert.embeddings.${name}_embeddings.weight`),
  },
  falcon_h1: {
    norms: ['model.final_layernorm.weight'],
    layerNorms: (layer) =>
      weights(['input_layernorm', 'mamba.norm', 'pre_ff_layernorm'].map((name) => `model.layers.${layer}.${name}`)),
    embeddings: decoder.embeddings,
  },
  flash: {
    norms: both(['to_logits.0']),
    layerNorms: (layer) => [`layers.${layer}.norm.g`],
    embeddings: ['token_emb.weight'],
  },
  gemma3_text: {
    ...decoder,
    layerNorms: (layer) =>
      weights(
        [
          ...['input_layernorm', 'post_attention_layernorm', 'pre_feedforward_layernorm', 'post_feedforward_layernorm'],
          ...['self_attn.q_norm', 'self_attn.k_norm'],
        ].map((name) => `model.layers.${layer}.${name}`),
      ),
  },
  gpt2: {
    norms: both(['transformer.ln_f']),
    layerNorms: (layer) => both([1, 2].map((norm) => `transformer.h.${layer}.ln_${norm}`)),
    embeddings: weights(['transformer.wte', 'transformer.wpe']),
  },
  granite: decoder,
  granitemoehybrid: {
    ...decoder,
    layerNorms: (layer) => [...decoder.layerNorms(layer), ...(layer === 0 ? ['model.layers.0.mamba.norm.weight'] : [])],
  },
  llama: decoder,
  mistral: decoder,
  lfm2: {
    norms: ['model.embedding_norm.weight'],
    layerNorms: (layer) =>
      weights(
        [
          ...['operator_norm', 'ffn_norm'],
          ...(layer === 1 ? ['self_attn.q_layernorm', 'self_attn.k_layernorm'] : []),
        ].map((name) => `model.layers.${layer}.${name}`),
      ),
    embeddings: decoder.embeddings,
  },
  olmo_hybrid: {
    ...decoder,
    layerNorms: (layer) =>
      weights(
        (layer === 1
          ? ['post_attention_layernorm', 'post_feedforward_layernorm', 'self_attn.q_norm', 'self_attn.k_norm']
          : ['input_layernorm', 'post_attention_layernorm', 'linear_attn.o_norm']
        ).map((name) => `model.layers.${layer}.${name}`),
      ),
  },
  qwen2: decoder,
  qwen3: {
    ...decoder,
    layerNorms: (layer) => [
      ...decoder.layerNorms(layer),
      ...weights(['q_norm', 'k_norm'].map((name) => `model.layers.${layer}.self_attn.${name}`)),
    ],
  },
  qwen3_5: deltaNets('model.language_model'),
  qwen3_5_text: deltaNets('model'),
  qwen3_next: deltaNets('model'),
  roberta,
  smollm3: decoder,
  t5: {
    norms: weights(['encoder', 'decoder'].map((stack) => `${stack}.final_layer_norm`)),
    layerNorms: (block) =>
      weights([
        ...[0, 1].map((layer) => `encoder.block.${block}.layer.${layer}.layer_norm`),
        ...[0, 1, 2].map((layer) => `decoder.block.${block}.layer.${layer}.layer_norm`),
      ]),
    embeddings: ['shared.weight'],
  },
  'xlm-roberta': roberta,
};

describe.each(supportedFamilies)('%s', (family) => {
  const model = augmented(family);

  it('has its norms, embeddings and mixers in the groups of low-rank training', () => {
    const { norms, layerNorms, embeddings } = groups[family];
    const sorted = (names: Iterable<string>): string[] => [...names].sort();
    const layers = [0, 1].flatMap((layer) => layerNorms(layer));
    expect(sorted(wholeParameters(model, ['norms']))).toEqual(sorted([...norms, ...layers]));
    expect(sorted(wholeParameters(model, ['embeddings']))).toEqual(sorted(embeddings));
    expect(sorted(wholeParameters(model, ['mixers']))).toEqual(sorted(freshMixerParameters(model).keys()));
  });

  it('starts from ones, zeros and a normal distribution, or as its reference does', () => {
    const parameters = initializeParameters(model, new Random(1), 0.25);
    for (const [name, { role, shape }] of model.parameters) {
      const { data } = parameters.get(name) ?? { data: new Float32Array(0) };
      expect(data.length, name).toBe(shape.reduce((a, b) => a * b, 1));
      const { fresh } = consequencesOf(role);
      if (fresh === 'ones' || fresh === 'zeros') {
        expect(new Set(data), name).toEqual(new Set([fresh === 'ones' ? 1 : 0]));
      } else if (fresh !== 'mixer' && data.length >= 128) {
        const expected = fresh === 'residual' ? 0.25 / Math.sqrt(2 * model.sizes.layers) : 0.25;
        const deviation = Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length);
        expect(Math.abs(deviation / expected - 1), name).toBeLessThan(0.25);
      }
    }
  });
});

/** What distillation trains next to the mixers of a layer, of families with projections. */
const queriesAndKeys: readonly [family: string, names: readonly string[]][] = [
  ['gemma3_text', ['q_proj.weight', 'k_proj.weight', 'q_norm.weight', 'k_norm.weight']],
  ['gpt2', ['c_attn.weight', 'c_attn.bias']],
  ['llama', ['q_proj.weight', 'k_proj.weight']],
  ['mistral', ['q_proj.weight', 'k_proj.weight']],
  ['qwen2', ['q_proj.weight', 'k_proj.weight', 'q_proj.bias', 'k_proj.bias']],
  ['qwen3', ['q_proj.weight', 'k_proj.weight', 'q_norm.weight', 'k_norm.weight']],
];

it.each(queriesAndKeys)('attention transfer finds what queries and keys of %s are made of', (family, names) => {
  const teacher = describeCausalModel(tinyConfig(family));
  const student = requireCausal(teacher.withMixers([mixerPreset('augmented'), teacher.mixers[1]]));
  const without = transferredParameters(teacher, student, { queriesAndKeys: false });
  const withThem = transferredParameters(teacher, student, { queriesAndKeys: true });
  const prefix = teacher.attentionPrefix(0);
  expect([...withThem].filter((name) => !without.has(name))).toEqual(names.map((name) => `${prefix}.${name}`));
});
