/** BERT with every mixer: padding moves nothing, every position reads both sides, everything trains. */
import { afterAll, describe, expect, it } from 'vitest';
import { relativeToPeak } from '../../../../test/parity/golden.ts';
import { runGraph } from '../../../../test/parity/golden-model.ts';
import { randomParameters } from '../../../../test/models/tiny-llama.ts';
import type { MixerConfig } from '../../../attention/mixer.ts';
import { convolutionOf, fitsEncoders } from '../../../attention/mixers.ts';
import { mixerPreset, mixerPresetNames, takenOptions } from '../../../attention/presets.ts';
import { gradients } from '../../../graph/gradients.ts';
import { Graph } from '../../../graph/graph.ts';
import { sumSquare } from '../../../graph/ops/reduce.ts';
import { float32, int32, type Tensor } from '../../../graph/tensor.ts';
import { InputParameters } from '../../../nn/parameters.ts';
import { Random } from '../../../random.ts';
import { compile } from '../../../runtime/compile.ts';
import type { Program } from '../../../runtime/program.ts';
import { linearize } from '../../linearization/linearize.ts';
import type { EncoderModel } from '../../model.ts';
import type { ClassifierParts } from '../../model.ts';
import { bertModel } from './model.ts';

const G = 8;
const sizes = { group: G, block: G, kernel: 5, features: 6, rows: 4, length: 128, hashes: 3, bits: 3 };

/** All presets that encoders can have, with and without convolution; some have two names. */
const mixers = new Map(
  mixerPresetNames()
    .filter((name) => !name.startsWith('flash') && fitsEncoders(mixerPreset(name)))
    .flatMap((name): [string, MixerConfig][] => {
      const mixer = mixerPreset(name, takenOptions(name, sizes));
      const takesConvolution = name !== 'softmax' && convolutionOf(mixer) === null;
      if (!takesConvolution) return [[name, mixer]];
      return [
        [name, mixer],
        [`${name} with convolution`, mixerPreset(name, { ...takenOptions(name, sizes), convolution: true })],
      ];
    }),
);

const vocabulary = 20;

/** A token predictor and a classifier over the same encoder of two layers. */
function models(mixer: MixerConfig): { model: EncoderModel; classifier: ClassifierParts } {
  const model = bertModel({
    model_type: 'bert',
    vocab_size: vocabulary,
    max_position_embeddings: 40,
    hidden_size: 16,
    intermediate_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 2,
  }).withMixers([mixer, mixer]);
  return { model, classifier: model.asClassifier(['no', 'maybe', 'yes']) };
}

interface Outputs {
  readonly logits: Float64Array;
  readonly classes: Float64Array;
}

/** Logits and classes of texts, by graphs that are compiled once for each size of a batch. */
class Bert {
  readonly #mixer: MixerConfig;
  readonly #parameters: ReadonlyMap<string, Tensor>;
  readonly #programs = new Map<string, Promise<Program>>();

  constructor(mixer: MixerConfig, parameters: ReadonlyMap<string, Tensor>) {
    this.#mixer = mixer;
    this.#parameters = parameters;
  }

  /** Texts in one batch of n places; the rest of a row is any tokens at all. */
  async outputs(texts: readonly Int32Array[], n: number): Promise<Outputs> {
    const B = texts.length;
    const random = new Random(n);
    const tokens = Int32Array.from({ length: B * n }, () => random.integer(vocabulary));
    const mask = new Float32Array(B * n);
    texts.forEach((text, b) => {
      tokens.set(text, b * n);
      mask.fill(1, b * n, b * n + text.length);
    });
    const size = `${B}x${n}`;
    const compiled = this.#programs.get(size) ?? this.#compile(B, n);
    this.#programs.set(size, compiled);
    const inputs = { tokens: int32([B, n], tokens), mask: float32([B, n], mask) };
    const program = await compiled;
    const results = await program.run({ ...Object.fromEntries(this.#parameters), ...inputs }, ['logits', 'classes']);
    const numbers = (name: 'logits' | 'classes'): Float64Array => Float64Array.from(results[name].data, Number);
    return { logits: numbers('logits'), classes: numbers('classes') };
  }

  #compile(B: number, n: number): Promise<Program> {
    const { model, classifier } = models(this.#mixer);
    const graph = new Graph('bert');
    const source = new InputParameters(graph);
    const input = { tokens: graph.input('tokens', 'int32', [B, n]), mask: graph.input('mask', 'float32', [B, n]) };
    graph.output('logits', model.head(source, model.encode(source, input)));
    const last = graph.constant(int32([B], new Int32Array(B)));
    graph.output('classes', classifier.logits(source, { ...input, last }));
    return compile(graph);
  }

  async dispose(): Promise<void> {
    for (const program of this.#programs.values()) await (await program).dispose();
  }
}

const randomText = (length: number, random: Random): Int32Array =>
  Int32Array.from({ length }, () => random.integer(vocabulary));

describe.each([...mixers])('%s', (_, mixer) => {
  const { model, classifier } = models(mixer);
  const parameters = new Map([...randomParameters(classifier.model, 3), ...randomParameters(model, 3)]);
  const bert = new Bert(mixer, parameters);
  afterAll(() => bert.dispose());

  it('gives a padded text what it gives the text alone, next to any others', async () => {
    const random = new Random(5);
    const lengths = [1, G - 1, G, G + 1, 2 * G + 3, 3 * G + 5];
    const texts = lengths.map((length) => randomText(length, random));
    const n = 3 * G + 7;
    const together = await bert.outputs(texts, n);
    expect(together.logits.every(Number.isFinite)).toBe(true);
    for (const [b, text] of texts.entries()) {
      const alone = await bert.outputs([text], text.length);
      const start = b * n * vocabulary;
      const padded = together.logits.subarray(start, start + alone.logits.length);
      expect(relativeToPeak(padded, alone.logits), `text of ${text.length}`).toBeLessThan(2e-5);
      expect(relativeToPeak(together.classes.subarray(3 * b, 3 * b + 3), alone.classes)).toBeLessThan(2e-5);
    }
  });

  it('reads both sides', async () => {
    const text = randomText(3 * G + 5, new Random(6));
    const changed = Int32Array.from(text);
    changed[text.length - 1] = (text[text.length - 1] + 1) % vocabulary;
    const [before, after] = await Promise.all([text, changed].map((tokens) => bert.outputs([tokens], text.length)));
    // One position before, in its own group; whether it is seen from afar depends on the mixer.
    const place = (text.length - 2) * vocabulary;
    const row = ({ logits }: Outputs): Float64Array => logits.subarray(place, place + vocabulary);
    expect(relativeToPeak(row(after), row(before))).toBeGreaterThan(1e-4);
  });

  it('can be put in, under the names it has in every family, and trains all of its parameters', async () => {
    const plain = models(mixerPreset('softmax')).model;
    const softmax = new Map(
      [...randomParameters(plain, 7)].map(([name, { shape, data }]) => [
        name,
        float32(shape, Array.from(data, Number)),
      ]),
    );
    const changed = linearize(plain, softmax, mixer);
    const own = [...changed.parameters.keys()].filter((name) => !plain.parameters.has(name));
    expect([...changed.parameters.keys()].sort()).toEqual([...model.parameters.keys()].sort());
    for (const name of own) expect(name).toMatch(/^bert\.encoder\.layer\.[01]\.attention\.self\./);

    const graph = new Graph('gradients');
    const source = new InputParameters(graph);
    const input = { tokens: graph.input('tokens', 'int32', [2, 19]), mask: graph.input('mask', 'float32', [2, 19]) };
    const loss = sumSquare(model.head(source, model.encode(source, input)));
    const names = [...model.parameters.keys()];
    gradients(
      loss,
      names.map((name) => source.parameter(name, model.parameters.get(name)?.shape ?? [])),
    ).forEach((gradient, i) => {
      graph.output(`grad.${names[i]}`, gradient);
    });
    const mask = Float32Array.from({ length: 38 }, (_, i) => (i < 30 ? 1 : 0));
    const results = await runGraph(graph, {
      ...Object.fromEntries(randomParameters(model, 3)),
      tokens: int32([2, 19], randomText(38, new Random(8))),
      mask: float32([2, 19], mask),
    });
    for (const name of names) {
      const gradient = results[`grad.${name}`];
      expect(gradient.every(Number.isFinite), name).toBe(true);
      expect(
        gradient.some((x) => x !== 0),
        name,
      ).toBe(true);
    }
  });
});
