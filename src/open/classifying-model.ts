/** An opened classifier, and an opened encoder, which has nothing but its weights. For Node. */
import { longestSequence } from '../attention/mixers.ts';
import { textLayouts } from '../data/text-layouts.ts';
import { LinnetError } from '../errors.ts';
import { Graph } from '../graph/graph.ts';
import { dataOf, float32, int32, type Tensor } from '../graph/tensor.ts';
import type { Classifier } from '../models/classifier.ts';
import type { EncoderModel } from '../models/model.ts';
import { WeightParameters } from '../nn/parameters.ts';
import { compile, type CompileOptions, type Program } from '../runtime/compile.ts';
import { type Classification, type ModelOrigin, Opened } from './opened-model.ts';
import { requireText } from '../files/arguments.ts';

/** An encoder as it is opened. */
export class EncodingModel extends Opened {
  readonly kind = 'encoder';
  readonly description: EncoderModel;

  constructor(origin: ModelOrigin, description: EncoderModel) {
    super(origin);
    this.description = description;
  }
}

/** What a classifier is made of. */
export interface ClassifyingParts extends ModelOrigin {
  readonly description: Classifier;
  readonly parameters: ReadonlyMap<string, Tensor>;
  readonly compile: CompileOptions;
}

/** A classifier as it is opened. Compiles a graph per length of text, doubling from 32. */
export class ClassifyingModel extends Opened {
  readonly kind = 'classifier';
  readonly description: Classifier;
  readonly #parts: ClassifyingParts;
  readonly #programs = new Map<number, Promise<Program>>();

  constructor(parts: ClassifyingParts) {
    super(parts);
    this.description = parts.description;
    this.#parts = parts;
  }

  override async classify(text: string, pair?: string): Promise<Classification> {
    requireText(text, 'the text');
    if (pair !== undefined) requireText(pair, 'the second text');
    const { tokenizer } = this;
    const { model, labels, isRegression } = this.description;
    const longest = Math.min(model.sizes.trainedLength, ...model.mixers.map(longestSequence));
    const laidOut = textLayouts[model.kind](tokenizer, text, pair, longest);
    const count = laidOut.tokens.length;
    if (count === 0) throw new LinnetError('INPUT', 'the text to classify has no token; give some text');
    const length = Math.max(count, Math.min(longest, 2 ** Math.max(5, Math.ceil(Math.log2(count)))));
    const tokens = new Int32Array(length).fill(tokenizer.padId ?? tokenizer.eosId ?? 0);
    tokens.set(laidOut.tokens);
    const program = await this.#program(length);
    const all: Record<string, Tensor> = {
      tokens: int32([1, length], tokens),
      mask: float32([1, length], new Float32Array(length).fill(1, 0, count)),
      last: int32([1], [count - 1]),
      segments: int32([1, length], new Int32Array(length).fill(1, laidOut.pairStart, count)),
    };
    const feeds = Object.fromEntries(Object.entries(all).filter(([name]) => program.inputs.has(name)));
    const { logits } = await program.run(feeds, ['logits']);
    const data = dataOf(logits, 'float32');
    return { ...classification(labels, data), ...(isRegression && { value: data[0] }) };
  }

  override async dispose(): Promise<void> {
    for (const program of this.#programs.values()) await (await program).dispose();
    this.#programs.clear();
  }

  #program(length: number): Promise<Program> {
    const known = this.#programs.get(length);
    if (known !== undefined) return known;
    const { description, parameters, compile: options } = this.#parts;
    const graph = new Graph('classification');
    const texts = {
      tokens: graph.input('tokens', 'int32', [1, length]),
      mask: graph.input('mask', 'float32', [1, length]),
      last: graph.input('last', 'int32', [1]),
      segments: graph.input('segments', 'int32', [1, length]),
    };
    graph.output('logits', description.classLogits(new WeightParameters(graph, parameters), texts));
    const program = compile(graph, options);
    this.#programs.set(length, program);
    return program;
  }
}

/** Softmax over the classes, in float64. */
function classification(labels: readonly string[], logits: Float32Array): Classification {
  const peak = logits.reduce((largest, logit) => Math.max(largest, logit), Number.NEGATIVE_INFINITY);
  const weights = Array.from(logits, (logit) => Math.exp(logit - peak));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const classes = labels.map((label, id) => ({ label, probability: weights[id] / total }));
  return { ...classes.reduce((best, other) => (other.probability > best.probability ? other : best)), classes };
}
