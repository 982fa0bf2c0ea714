/** Every mixer in every attention of T5: padding changes nothing, the decoder reads no later token, gradients flow. */
import { describe, expect, it } from 'vitest';
import { relativeToPeak } from '../../../../test/parity/golden.ts';
import { runGraph } from '../../../../test/parity/golden-model.ts';
import { randomT5Weights, t5MixerNames, tinyT5 } from '../../../../test/models/tiny-t5.ts';
import { gradients } from '../../../graph/gradients.ts';
import { Graph } from '../../../graph/graph.ts';
import { sum } from '../../../graph/ops/contraction.ts';
import { mul } from '../../../graph/ops/elementwise.ts';
import { float32, int32, type Tensor } from '../../../graph/tensor.ts';
import { InputParameters } from '../../../nn/parameters.ts';
import { Random } from '../../../random.ts';
import type { EncoderDecoderModel } from '../../model.ts';

interface Batch {
  readonly tokens: readonly (readonly number[])[];
  readonly read: readonly (readonly number[])[];
}

/** Hidden states of encoder and decoder; rows padded with `filler`. */
async function run(
  model: EncoderDecoderModel,
  weights: ReadonlyMap<string, Tensor>,
  batch: Batch,
  filler: number,
  differentiate = false,
) {
  const graph = new Graph('t5 mixers');
  const source = new InputParameters(graph);
  const padded = (rows: readonly (readonly number[])[]): { ids: Tensor<'int32'>; mask: Tensor<'float32'> } => {
    const n = Math.max(...rows.map((row) => row.length));
    const at = rows.flatMap((row) => Array.from({ length: n }, (_, i) => row[i] ?? filler));
    const mask = rows.flatMap((row) => Array.from({ length: n }, (_, i) => (i < row.length ? 1 : 0)));
    return { ids: int32([rows.length, n], at), mask: float32([rows.length, n], mask) };
  };
  const text = padded(batch.tokens);
  const read = padded(batch.read);
  const mask = graph.input('mask', 'float32', text.mask.shape);
  const encoded = model.encode(source, { tokens: graph.input('tokens', 'int32', text.ids.shape), mask });
  const decoder = { tokens: graph.input('read', 'int32', read.ids.shape), encoded, encodedMask: mask };
  const hidden = model.decode(source, decoder);
  graph.output('encoded', encoded);
  graph.output('hidden', hidden);
  const dout = graph.input('dout', 'float32', hidden.shape.map(Number));
  const names = [...source.values.keys()];
  const found = differentiate ? gradients(sum(mul(hidden, dout)), [...source.values.values()]) : [];
  found.forEach((gradient, i) => {
    graph.output(`grad.${names[i]}`, gradient);
  });
  const random = new Random(9);
  const results = await runGraph(graph, {
    ...Object.fromEntries([...weights].filter(([name]) => source.values.has(name))),
    tokens: text.ids,
    mask: text.mask,
    read: read.ids,
    ...(differentiate && {
      dout: float32(
        dout.shape.map(Number),
        Float32Array.from({ length: hidden.shape.map(Number).reduce((a, b) => a * b) }, () => random.normal()),
      ),
    }),
  });
  return { results, n: text.ids.shape[1], m: read.ids.shape[1] };
}

const plain = tinyT5('softmax');
const width = plain.sizes.width;
const rows = (data: Float64Array, row: number, length: number, count: number): Float64Array =>
  data.slice(row * length * width, (row * length + count) * width);

describe.each(t5MixerNames)('%s', (name) => {
  const model = tinyT5(name);
  const weights = randomT5Weights(model);
  // Lengths at, before and after group boundaries.
  const tokens = [
    [3, 4, 5, 6, 7, 8, 9, 10, 11],
    [12, 13, 14, 15, 16],
    [17, 2, 3, 4],
  ];
  const read = [
    [0, 5, 6],
    [0, 7, 8, 9, 10, 11, 12],
    [0, 1, 2, 3],
  ];

  it('gives every text of a padded batch what it gives the text alone', async () => {
    const batch = await run(model, weights, { tokens, read }, 0);
    for (let row = 0; row < tokens.length; row++) {
      const alone = await run(model, weights, { tokens: [tokens[row]], read: [read[row]] }, 0);
      const encoded = rows(batch.results.encoded, row, batch.n, tokens[row].length);
      expect(relativeToPeak(encoded, alone.results.encoded), `encoder ${row}`).toBeLessThan(2e-5);
      const hidden = rows(batch.results.hidden, row, batch.m, read[row].length);
      expect(relativeToPeak(hidden, alone.results.hidden), `decoder ${row}`).toBeLessThan(2e-5);
    }
  });

  it('reads neither padding nor later tokens, and trains every parameter of its mixers', async () => {
    const one = await run(model, weights, { tokens, read }, 0, true);
    const longer = { tokens, read: read.map((row) => [...row, 19, 18]) };
    const other = await run(model, weights, longer, 5);
    for (let row = 0; row < tokens.length; row++) {
      const count = read[row].length;
      const [a, b] = [rows(one.results.hidden, row, one.m, count), rows(other.results.hidden, row, other.m, count)];
      expect(relativeToPeak(a, b), `decoder ${row}`).toBeLessThan(2e-5);
    }
    for (const key of model.parameters.keys()) {
      // Stacks whose mixers have no place for the relative bias do not read it.
      if (key.includes('relative_attention_bias') && !/softmax|local/.test(name)) continue;
      const gradient = one.results[`grad.${key}`];
      expect(gradient.every(Number.isFinite), key).toBe(true);
      if (plain.parameters.has(key)) continue;
      expect(
        gradient.some((x) => x !== 0),
        key,
      ).toBe(true);
    }
  });
});

describe('classification', () => {
  it('gives a padded text the logits of the text alone, from the EOS token', async () => {
    const model = tinyT5('local+global');
    const weights = randomT5Weights(model);
    const random = new Random(5);
    const classifier = model.asClassifier(['no', 'maybe', 'yes']);
    for (const [name, { shape }] of classifier.head) {
      const count = shape.reduce((a, b) => a * b, 1);
      weights.set(
        name,
        float32(
          shape,
          Float32Array.from({ length: count }, () => random.normal()),
        ),
      );
    }
    const logits = async (ids: readonly number[], mask: readonly number[], B: number): Promise<Float64Array> => {
      const n = ids.length / B;
      const graph = new Graph('t5 classifier');
      const source = new InputParameters(graph);
      const texts = {
        tokens: graph.input('tokens', 'int32', [B, n]),
        mask: graph.input('mask', 'float32', [B, n]),
        last: graph.input('last', 'int32', [B]),
      };
      graph.output('logits', classifier.logits(source, texts));
      const { logits: out } = await runGraph(graph, {
        ...Object.fromEntries([...weights].filter(([name]) => source.values.has(name))),
        tokens: int32([B, n], ids),
        mask: float32([B, n], mask),
        last: int32(
          [B],
          Array.from({ length: B }, (_, row) => mask.slice(row * n, (row + 1) * n).lastIndexOf(1)),
        ),
      });
      return out;
    };
    const both = await logits([3, 4, 5, 6, 7, 1, 8, 9, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], 2);
    const [first, second] = [
      await logits([3, 4, 5, 6, 7, 1], [1, 1, 1, 1, 1, 1], 1),
      await logits([8, 9, 1], [1, 1, 1], 1),
    ];
    expect(relativeToPeak(both, [...first, ...second])).toBeLessThan(2e-5);
    // The state at EOS has read all tokens before it.
    const other = await logits([8, 10, 1], [1, 1, 1], 1);
    expect(relativeToPeak(other, second)).toBeGreaterThan(1e-3);
  });
});
