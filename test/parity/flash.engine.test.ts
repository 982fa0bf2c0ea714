/** FLASH against outputs, losses and gradients of executed reference code (test/golden: flash_*). */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { biasBucket } from '../../src/attention/kinds/gau/config.ts';
import { chain } from '../../src/attention/tree.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { gradients } from '../../src/graph/gradients.ts';
import { Graph } from '../../src/graph/graph.ts';
import { crossEntropy } from '../../src/graph/ops/normalization.ts';
import { mean } from '../../src/graph/ops/reduce.ts';
import { float32, int32, type Tensor } from '../../src/graph/tensor.ts';
import { type FlashConfig, type FlashConfigInput, parseFlashConfig } from '../../src/models/families/flash/config.ts';
import { flashLogits, flashModel, flashParameterName, flashParameters } from '../../src/models/families/flash/model.ts';
import { InputParameters } from '../../src/nn/parameters.ts';
import { type GoldenTensor, goldenConfig, goldenNumbers, goldenTensor, readGolden, relativeToPeak } from './golden.ts';
import { expectGolden, expectGoldenGradients, goldenWeights, runGraph } from './golden-model.ts';

const caseSchema = z.object({
  dim: z.int(),
  depth: z.int(),
  num_tokens: z.int(),
  group_size: z.int(),
  query_key_dim: z.int(),
  expansion_factor: z.number(),
  causal: z.boolean(),
  kernel: z.int().optional(),
  laplace_attn_fn: z.boolean().default(false),
  local_: z.boolean().default(true),
  global_: z.boolean().default(true),
  castling: z.boolean().default(false),
  softmax: z.boolean().default(false),
  square: z.boolean().default(false),
  norm_type: z.enum(['scalenorm', 'layernorm']).default('scalenorm'),
  shift_tokens: z.boolean().default(true),
  reduce_group_non_causal_attn: z.boolean().default(true),
  lengths: z.array(z.int()),
  grad_length: z.int().nullable(),
});

interface Case {
  readonly json: FlashConfigInput;
  readonly config: FlashConfig;
  readonly lengths: readonly number[];
  readonly gradientLength: number | null;
}

function describeCase(name: string): Case {
  const json = goldenConfig(name, caseSchema);
  const input: FlashConfigInput = {
    model_type: 'flash',
    vocab_size: json.num_tokens,
    dim: json.dim,
    depth: json.depth,
    group_size: json.group_size,
    query_key_dim: json.query_key_dim,
    expansion_factor: json.expansion_factor,
    causal: json.causal,
    activation: json.laplace_attn_fn ? 'laplace' : 'relu2',
    norm: json.norm_type,
    shift_tokens: json.shift_tokens,
    attention: json.softmax ? 'softmax' : json.square ? 'square-original' : 'mixed',
    local: json.local_,
    global: json.global_,
    convolution: json.kernel ?? null,
    castling: json.castling,
    reduce_groups: json.reduce_group_non_causal_attn,
  };
  return { json: input, config: parseFlashConfig(input), lengths: json.lengths, gradientLength: json.grad_length };
}

/** Tokens [B,n+1]: the model reads the first n and predicts the last n. */
async function run(
  config: FlashConfig,
  weights: ReadonlyMap<string, Tensor>,
  tokens: GoldenTensor,
  mask: GoldenTensor | undefined,
  withGradients: boolean,
): Promise<Record<string, Float64Array>> {
  const [B, count] = tokens.shape;
  const n = count - 1;
  const graph = new Graph('flash');
  const source = new InputParameters(graph);
  const keyMask = mask === undefined ? undefined : graph.input('mask', 'float32', [B, n]);
  const logits = flashLogits(config, source, graph.input('tokens', 'int32', [B, n]), keyMask);
  const loss = mean(crossEntropy(logits, graph.input('labels', 'int32', [B, n])), [0, 1]);
  graph.output('logits', logits);
  graph.output('loss', loss);
  const shapes = flashParameters(config);
  const names = withGradients ? [...shapes.keys()] : [];
  gradients(
    loss,
    names.map((name) => source.parameter(name, shapes.get(name)?.shape ?? [])),
  ).forEach((gradient, i) => {
    graph.output(`grad.${names[i]}`, gradient);
  });
  expect([...source.values.keys()].sort()).toEqual([...shapes.keys()].sort());
  const part = (start: number): Int32Array =>
    Int32Array.from({ length: B * n }, (_, i) => tokens.data[Math.floor(i / n) * count + (i % n) + start]);
  const used = [...weights].filter(([name]) => source.values.has(name));
  return runGraph(graph, {
    ...Object.fromEntries(used),
    tokens: int32([B, n], part(0)),
    labels: int32([B, n], part(1)),
    ...(mask === undefined ? {} : { mask: float32([B, n], mask.data) }),
  });
}

const cases = [
  'flash_local_relu2',
  'flash_global',
  'flash_localglobal_relu2',
  'flash_localglobal_laplace',
  'flash_aug63_laplace',
  'flash_aug9_relu2',
  'flash_local_conv9_laplace',
  'flash_softmax',
  'flash_square_original',
  'flash_castling',
  'flash_layernorm_noshift',
  'flash_encoder_masked',
  'flash_encoder_nogroupreduce',
];

describe.each(cases)('%s', (name) => {
  const { config, lengths, gradientLength } = describeCase(name);
  const io = readGolden(name);
  const weights = goldenWeights(name, flashParameterName);

  it('has the parameters of the reference', () => {
    expect([...weights.keys()].sort()).toEqual([...flashParameters(config).keys()].sort());
  });

  it.each(lengths)('has the reference logits, loss and gradients at n = %i', async (n) => {
    const tokens = goldenTensor(io, `n${n}.tokens`);
    // Whole-sequence attention of the reference divides by the length it is given.
    const results = await run(
      { ...config, trained_length: n },
      weights,
      tokens,
      io.get(`n${n}.mask`),
      n === gradientLength,
    );
    expectGolden(results, io, { logits: `n${n}.logits`, loss: `n${n}.loss64` });
    const prefix = `n${n}.grad.`;
    const compared = [...io.keys()].filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length));
    expect(compared.length).toBe(n === gradientLength ? flashParameters(config).size : 0);
    expectGoldenGradients(results, io, compared, (name) => `${prefix}${name}`);
  });
});

describe.each(cases.filter((name) => describeCase(name).config.causal))('%s, recurrent', (name) => {
  const { json, lengths } = describeCase(name);
  const io = readGolden(name);

  it.each(lengths)('has the reference logits token by token and in chunks at n = %i', async (n) => {
    const model = flashModel({ ...json, trained_length: n });
    const V = model.sizes.vocabulary;
    const tokens = goldenTensor(io, `n${n}.tokens`);
    const [B, count] = tokens.shape;
    const expected = goldenNumbers(io, `n${n}.logits`);
    await using engine = await DecodingEngine.create(model, goldenWeights(name, flashParameterName));
    for (const chunk of [1, 3]) {
      const logits = new Float64Array(expected.length);
      for (let row = 0; row < B; row++) {
        const state = engine.newState();
        for (let t = 0; t < n; t += chunk) {
          const read = Array.from(tokens.data.slice(row * count + t, row * count + Math.min(n, t + chunk)), Number);
          const nodes = read.map((_, node) => node);
          const request = { state, tree: chain(read.length), tokens: read, wanted: nodes };
          const [output] = await engine.step([request]);
          await engine.commit(request, output, nodes);
          output.logits.forEach((next, node) => {
            logits.set(next, (row * n + t + node) * V);
          });
        }
        expect(state.length).toBe(n);
      }
      expect(relativeToPeak(logits, expected), `chunks of ${chunk}`).toBeLessThan(2e-5);
    }
  });
});

describe('relative_position_buckets', () => {
  const io = readGolden('relative_position_buckets');

  it.each([
    ['causal', true],
    ['bidirectional', false],
  ])('are those of the reference, %s', (direction, causal) => {
    const positions = goldenNumbers(io, 'relative_position'); // key − query
    const expected = goldenNumbers(io, `b32.d128.${direction}`);
    expect(positions.map((position) => biasBucket(-position, causal))).toEqual(expected);
  });
});
