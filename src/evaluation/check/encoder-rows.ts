/**
 * Checks an encoder. It reads the whole text by design, so it has no future to leak, but padding must not show: a text in a
 * batch with longer ones must have the same outputs as alone. And its mixers must match the formula.
 */
import { float32Error, mixBidirectional, mixReference } from '../../attention/mixers.ts';
import type { MixerConfig } from '../../attention/mixer.ts';
import { Graph, type Value } from '../../graph/graph.ts';
import { float32, int32, type WeightMap } from '../../graph/tensor.ts';
import type { CausalModel, EncoderInput, EncoderModel } from '../../models/model.ts';
import { mixerParameterValues, parallelMixing } from '../../models/graphs/parallel-graph.ts';
import { InputParameters, type ParameterSource } from '../../nn/parameters.ts';
import { Random } from '../../random.ts';
import { checkedGroup, checkedLength, comparedLengths, layerNames, sharedMixers } from './checked-extent.ts';
import { type Computation, computed, fewerHeads, type ParameterValues, type ParityOptions } from './forms.ts';
import { type CheckRow, checkTests, comparedRow, Discrepancy, limits, modelLimit } from './rows.ts';
import { mixerProbe, hiddenOfReference, referenceInput, randomMixerParameters, randomProbe } from './mixer-probe.ts';

/** Hidden states [B,n,width] of padded texts. */
type Encode = (source: ParameterSource, input: EncoderInput) => Value;

/** Every mixer against the reference and next to padding, then the whole model next to padding. */
export async function* encoderRows(
  model: EncoderModel,
  parameters: ParameterValues,
  options: ParityOptions,
): AsyncGenerator<CheckRow> {
  for (const { mixer, layers } of sharedMixers(model)) {
    const lengths = comparedLengths(mixer, options.maximumLength);
    const length = lengths[lengths.length - 1];
    const probe = mixerProbe(mixer, { ...fewerHeads(model.sizes), vocabulary: 2 * length });
    const random = new Random(options.seed);
    const tables = randomProbe(probe, random);
    const about = { subject: layerNames(layers), limit: Math.max(limits.mixer, float32Error(mixer)), length };
    const expected = await wholeAgainstReference(probe, tables, lengths, random, options);
    yield comparedRow({ ...about, test: checkTests.wholeText }, expected);
    const padded = await paddedAgainstAlone(probeEncoder(probe), 2 * length, tables, mixer, length, random, options);
    yield comparedRow({ ...about, test: checkTests.paddedPositions }, padded);
  }
  const random = new Random(options.seed);
  const length = checkedLength(model.mixers, options.maximumLength);
  const about = { subject: 'model', limit: modelLimit(model.mixers), length };
  const widest = model.mixers.reduce((a, b) => (checkedGroup(a) < checkedGroup(b) ? b : a));
  const encode: Encode = (source, input) => model.encode(source, input);
  const padded = (values: ParameterValues): Promise<Discrepancy> =>
    paddedAgainstAlone(encode, model.sizes.vocabulary, values, widest, length, random, options);
  yield comparedRow({ ...about, test: checkTests.paddedText }, await padded(parameters));
  const switchedOn = new Map([...parameters, ...randomMixerParameters(model, random)]);
  yield comparedRow({ ...about, test: checkTests.paddedTextRandom }, await padded(switchedOn));
}

/** A bare mixer over the rows of its tables. */
function probeEncoder(probe: CausalModel): Encode {
  return (source, { tokens, mask }) =>
    probe.backbone(
      source,
      tokens,
      {},
      parallelMixing((layer, projected) =>
        mixBidirectional(probe.mixers[layer], projected, mask, mixerParameterValues(probe, source, layer)),
      ),
    );
}

/** Texts of all lengths, one without and one with padding at any place, at their tokens' positions. */
async function wholeAgainstReference(
  probe: CausalModel,
  tables: WeightMap,
  lengths: readonly number[],
  random: Random,
  options: ParityOptions,
): Promise<Discrepancy> {
  const { heads, headWidth, valueWidth = headWidth, vocabulary } = probe.sizes;
  const found = new Discrepancy();
  for (const n of lengths) {
    const tokens = random.integers(2 * n, vocabulary);
    const mask = Float32Array.from({ length: 2 * n }, (_, i) => (i <= n || random.uniform() < 0.7 ? 1 : 0));
    const hidden = await run(probeEncoder(probe), tables, tokens, mask, 2, options);
    const width = heads * valueWidth;
    for (const row of [0, 1]) {
      const maskOfRow = mask.subarray(row * n, (row + 1) * n);
      const text = referenceInput(probe, tables, tokens.subarray(row * n, (row + 1) * n));
      const expected = mixReference(probe.mixers[0], { ...text, keyMask: Float64Array.from(maskOfRow) });
      maskOfRow.forEach((token, t) => {
        const start = (row * n + t) * width;
        if (token === 1)
          found.add(hidden.subarray(start, start + width), hiddenOfReference(expected, t, heads, valueWidth));
      });
    }
  }
  return found;
}

/** The largest graph of `encoderRows`: texts of all lengths in one batch. */
export function paddedGraph(model: EncoderModel, maximumLength: number): Graph {
  const graph = new Graph('check');
  const shape = [mostLengths, checkedLength(model.mixers, maximumLength)];
  const input = { tokens: graph.input('tokens', 'int32', shape), mask: graph.input('mask', 'float32', shape) };
  graph.output('computed', model.encode(new InputParameters(graph), input));
  return graph;
}

/** Most text lengths in `paddedAgainstAlone`. */
const mostLengths = 4;

/** Texts that end around groups' edges: in one batch, with arbitrary tokens as padding, against each alone. */
async function paddedAgainstAlone(
  encode: Encode,
  vocabulary: number,
  parameters: ParameterValues,
  mixer: MixerConfig,
  length: number,
  random: Random,
  options: ParityOptions,
): Promise<Discrepancy> {
  const G = checkedGroup(mixer);
  const lengths = [...new Set([1, G - 1, G + 1, length - 2])].filter((n) => n >= 1 && n < length);
  const tokens = random.integers(lengths.length * length, vocabulary);
  const mask = Float32Array.from(tokens, (_, i) => (i % length < lengths[Math.floor(i / length)] ? 1 : 0));
  const together = await run(encode, parameters, tokens, mask, lengths.length, options);
  const width = together.length / tokens.length;
  const found = new Discrepancy();
  for (const [row, n] of lengths.entries()) {
    const text = tokens.subarray(row * length, row * length + n);
    const alone = await run(encode, parameters, text, new Float32Array(n).fill(1), 1, options);
    found.add(together.subarray(row * length * width, (row * length + n) * width), alone);
  }
  return found;
}

function run(
  encode: Encode,
  parameters: ParameterValues,
  tokens: Int32Array,
  mask: Float32Array,
  batch: number,
  options: ParityOptions,
): Promise<Float32Array> {
  const shape = [batch, tokens.length / batch];
  const feeds = { tokens: int32(shape, tokens), mask: float32(shape, mask) };
  const whole: Computation = (source, inputs) => encode(source, { tokens: inputs.tokens, mask: inputs.mask });
  return computed(parameters, feeds, whole, options.compile);
}
