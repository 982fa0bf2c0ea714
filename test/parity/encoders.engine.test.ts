/** RoBERTa, XLM-RoBERTa and DistilBERT against float64 loops: hidden states, predictions of tokens, classes; padding changes nothing. */
import { describe, expect, it } from 'vitest';
import { Graph } from '../../src/graph/graph.ts';
import { dataOf, float32, int32 } from '../../src/graph/tensor.ts';
import { describeModel } from '../../src/models/families/index.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import type { EncoderModel } from '../../src/models/model.ts';
import { WeightParameters } from '../../src/nn/parameters.ts';
import { Random } from '../../src/random.ts';
import { compile } from '../../src/runtime/compile.ts';
import { tinyConfig } from '../models/tiny-model.ts';
import { affine, type EncoderReference, gelu, normalized, referenceHidden } from './encoder-reference.ts';
import { relativeToPeak } from './golden.ts';

const bertNames: EncoderReference['names'] = [
  ...(['attention.self.query', 'attention.self.key', 'attention.self.value'] as const),
  ...(['attention.output.dense', 'attention.output.LayerNorm'] as const),
  ...(['intermediate.dense', 'output.dense', 'output.LayerNorm'] as const),
];

const roberta: EncoderReference = {
  ...{ root: 'roberta', layers: [0, 1].map((layer) => `roberta.encoder.layer.${layer}`), names: bertNames },
  ...{ heads: 2, epsilon: 1e-5, firstPosition: 2 },
};

const distilBert: EncoderReference = {
  ...{ root: 'distilbert', layers: [0, 1].map((layer) => `distilbert.transformer.layer.${layer}`), heads: 2 },
  ...{ epsilon: 1e-12, firstPosition: 0 },
  names: [
    ...(['attention.q_lin', 'attention.k_lin', 'attention.v_lin', 'attention.out_lin', 'sa_layer_norm'] as const),
    ...(['ffn.lin1', 'ffn.lin2', 'output_layer_norm'] as const),
  ],
};

/** Names of the heads; the activation of the one that predicts classes. */
const families = [
  {
    ...{ family: 'roberta', className: 'Roberta', reference: roberta },
    tokenHead: ['lm_head.dense', 'lm_head.layer_norm', 'lm_head.bias'],
    classHead: ['classifier.dense', 'classifier.out_proj'],
    activate: Math.tanh,
  },
  {
    ...{ family: 'xlm-roberta', className: 'XLMRoberta', reference: roberta },
    tokenHead: ['lm_head.dense', 'lm_head.layer_norm', 'lm_head.bias'],
    classHead: ['classifier.dense', 'classifier.out_proj'],
    activate: Math.tanh,
  },
  {
    ...{ family: 'distilbert', className: 'DistilBert', reference: distilBert },
    tokenHead: ['vocab_transform', 'vocab_layer_norm', 'vocab_projector.bias'],
    classHead: ['pre_classifier', 'classifier'],
    activate: (x: number) => Math.max(0, x),
  },
] as const;

const tokens = [0, 17, 200, 3, 2, 2, 90, 41, 2];
/** Of a second text, which these families do not tell apart. */
const segments = [0, 0, 0, 0, 0, 0, 1, 1, 1];
const padded = 16;

function encoder(config: Readonly<Record<string, unknown>>): EncoderModel {
  const model = describeModel(config);
  if (model.kind !== 'encoder') throw new Error('no encoder');
  return model;
}

describe.each(families)('$family', ({ family, className, reference, tokenHead, classHead, activate }) => {
  const config = tinyConfig(family);
  const parametersOf = (model: EncoderModel) => initializeParameters(model, new Random(5), 0.4);

  async function run(
    model: EncoderModel,
    parameters: ReturnType<typeof parametersOf>,
    length: number,
  ): Promise<Readonly<Record<'hidden' | 'result', Float64Array>>> {
    const graph = new Graph('encoder');
    const rest = Array.from({ length: length - tokens.length }, () => 1);
    const input = {
      tokens: graph.constant(int32([1, length], [...tokens, ...rest])),
      mask: graph.constant(float32([1, length], [...tokens.map(() => 1), ...rest.map(() => 0)])),
      segments: graph.constant(int32([1, length], [...segments, ...rest.map(() => 0)])),
      last: graph.constant(int32([1], [tokens.length - 1])),
    };
    const source = new WeightParameters(graph, parameters);
    const hidden = model.encode(source, input);
    const isClassifier = model.parameters.has(`${classHead[1]}.weight`);
    graph.output('hidden', hidden);
    graph.output(
      'result',
      isClassifier ? model.asClassifier(['no', 'yes', 'so']).logits(source, input) : model.head(source, hidden),
    );
    await using program = await compile(graph);
    const { hidden: states, result } = await program.run({}, ['hidden', 'result']);
    return {
      hidden: Float64Array.from(dataOf(states, 'float32')),
      result: Float64Array.from(dataOf(result, 'float32')),
    };
  }

  it.each([tokens.length, padded])(
    'has the hidden states and predictions of the loops, in rows of %d',
    async (length) => {
      const model = encoder(config);
      const parameters = parametersOf(model);
      const weights = (name: string): ArrayLike<number> | undefined => parameters.get(name)?.data;
      const hidden = referenceHidden(reference, weights, tokens);
      const [dense, norm, bias] = tokenHead;
      const table = weights(`${reference.root}.embeddings.word_embeddings.weight`) ?? [];
      const inner = normalized(
        weights,
        norm,
        hidden.map((row) => affine(weights, dense, row).map(gelu)),
        reference.epsilon,
      );
      const logits = inner.map((row) =>
        Array.from(weights(bias) ?? [], (b, token) =>
          row.reduce((sum, value, f) => sum + value * table[token * row.length + f], b),
        ),
      );
      const found = await run(model, parameters, length);
      const own = (values: Float64Array, expected: readonly number[][]): Float64Array =>
        values.subarray(0, expected.length * expected[0].length);
      expect(relativeToPeak(own(found.hidden, hidden), Float64Array.from(hidden.flat()))).toBeLessThan(2e-5);
      expect(relativeToPeak(own(found.result, logits), Float64Array.from(logits.flat()))).toBeLessThan(2e-5);
    },
  );

  it('has the classes of the loops', async () => {
    const fields = { architectures: [`${className}ForSequenceClassification`], num_labels: 3 };
    const model = encoder({ ...config, ...fields });
    const parameters = parametersOf(model);
    const weights = (name: string): ArrayLike<number> | undefined => parameters.get(name)?.data;
    const [first] = referenceHidden(reference, weights, tokens);
    const expected = affine(weights, classHead[1], affine(weights, classHead[0], first).map(activate));
    const { result } = await run(model, parameters, padded);
    expect(relativeToPeak(result, Float64Array.from(expected))).toBeLessThan(2e-5);
  });
});
