/** What follows from the roles that families declare, parameter by parameter. */
import { describe, expect, it } from 'vitest';
import { tinyConfig } from '../../test/models/tiny-model.ts';
import { consequencesOf } from '../nn/parameter-roles.ts';
import { wholeParameters } from '../training/lora.ts';
import { transferredParameters } from '../training/objectives/distillation.ts';
import { mixerPreset } from '../attention/presets.ts';
import { Random } from '../random.ts';
import { describeCausalModel, describeModel, requireCausal, supportedFamilies } from './families.ts';
import { initializeParameters } from './initialize.ts';

function augmented(family: string) {
  const plain = describeModel(tinyConfig(family));
  return plain.withMixers(plain.mixers.map(() => mixerPreset('augmented', { group: 4, kernel: 5 })));
}

/** The second layer's own part of every name, so that lists stay short. */
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
    expect(decaying('block-linformer').filter((name) => name.startsWith(attention))).toEqual([
      `${attention}.linformer_k.weight`,
      `${attention}.linformer_v.weight`,
    ]);
    expect(decaying('hedgehog')).toEqual([]);
  });
});

/** Of each family: what the groups of low-rank training hold outside of the layers after the first. */
const groups: Readonly<Record<string, { norms: string[]; embeddings: string[] }>> = {
  bert: {
    norms: [
      ...['weight', 'bias'].map((end) => `bert.embeddings.LayerNorm.${end}`),
      ...['weight', 'bias'].map((end) => `bert.encoder.layer.0.attention.output.LayerNorm.${end}`),
      ...['weight', 'bias'].map((end) => `bert.encoder.layer.0.output.LayerNorm.${end}`),
      ...['weight', 'bias'].map((end) => `cls.predictions.transform.LayerNorm.${end}`),
    ],
    embeddings: ['word', 'position', 'token_type'].map((name) => `bert.embeddings.${name}_embeddings.weight`),
  },
  flash: {
    norms: ['layers.0.norm.g', 'to_logits.0.weight', 'to_logits.0.bias'],
    embeddings: ['token_emb.weight'],
  },
  gpt2: {
    norms: ['h.0.ln_1', 'h.0.ln_2', 'ln_f'].flatMap((name) =>
      ['weight', 'bias'].map((end) => `transformer.${name}.${end}`),
    ),
    embeddings: ['transformer.wte.weight', 'transformer.wpe.weight'],
  },
  ...Object.fromEntries(
    ['llama', 'mistral', 'qwen2'].map((family) => [
      family,
      {
        norms: ['layers.0.input_layernorm', 'layers.0.post_attention_layernorm', 'norm'].map((n) => `model.${n}.weight`),
        embeddings: ['model.embed_tokens.weight'],
      },
    ]),
  ),
  qwen3: {
    norms: [
      ...['input_layernorm', 'self_attn.q_norm', 'self_attn.k_norm', 'post_attention_layernorm'].map(
        (name) => `model.layers.0.${name}.weight`,
      ),
      'model.norm.weight',
    ],
    embeddings: ['model.embed_tokens.weight'],
  },
  t5: {
    norms: [
      ...[0, 1].map((layer) => `encoder.block.0.layer.${layer}.layer_norm.weight`),
      'encoder.final_layer_norm.weight',
      ...[0, 1, 2].map((layer) => `decoder.block.0.layer.${layer}.layer_norm.weight`),
      'decoder.final_layer_norm.weight',
    ],
    embeddings: ['shared.weight'],
  },
};

describe.each(supportedFamilies)('%s', (family) => {
  const model = augmented(family);

  it('has its norms, embeddings and mixers in the groups of low-rank training', () => {
    const of = (group: 'norms' | 'embeddings' | 'mixers'): string[] =>
      [...wholeParameters(model, [group])].filter((name) => !/\.1\.(?!weight|bias)|block\.1\./.test(name) || group === 'mixers');
    const sorted = (names: readonly string[] = []): string[] => [...names].filter((name) => !name.includes('layers.1.')).sort();
    const known = groups[family];
    expect(sorted(of('norms')).filter((name) => !/(layer|h|block)\.1\./.test(name) || /block\.0/.test(name))).toEqual(
      sorted(known.norms),
    );
    expect(sorted(of('embeddings'))).toEqual(sorted(known.embeddings));
    expect(of('mixers').every((name) => /_factor$|dwconv|bias\.weight$/.test(name))).toBe(true);
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
