/** Runs a model over texts that it reads whole, one at a time: encoders, and classifiers of any backbone. For Node. */
import { longestSequence } from '../attention/mixers.ts';
import { type LaidOutText, layoutOf, layOutText } from '../data/datasets/text-layouts.ts';
import { LinnetError } from '../errors.ts';
import { Graph, type Value } from '../graph/graph.ts';
import { reshape } from '../graph/ops/layout.ts';
import { matmul } from '../graph/ops/contraction.ts';
import { dataOf, float32, int32 } from '../graph/tensor.ts';
import type { ClassifierModel } from '../models/classifiers/classifier.ts';
import { parallelHidden } from '../models/graphs/parallel-graph.ts';
import type { ClassifiedTexts, EncoderModel, Model } from '../models/model.ts';
import type { ParameterSource } from '../nn/parameters.ts';
import { storedParameters } from '../quantization/sources.ts';
import type { WeightReader } from '../quantization/weight-reader.ts';
import { compile, type CompileOptions } from '../runtime/compile.ts';
import { onlyInputs, type Program } from '../runtime/program.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';

/** A classifier's result for a text. */
export interface Classification {
  /** The most probable class; for a regression head, the number's name. */
  readonly label: string;
  /** Its probability; 1 for a regression head, which has only one label. */
  readonly probability: number;
  /** All classes in the order of the model's labels; the probabilities add up to 1. */
  readonly classes: readonly { readonly label: string; readonly probability: number }[];
  /** The number of a regression head; undefined for classes. */
  readonly value?: number;
  /** Tokens at the end of the texts that the model did not read, since it reads no more; undefined if it read all. */
  readonly omitted?: number;
}

interface ReaderParts {
  readonly tokenizer: Tokenizer | undefined;
  readonly weights: WeightReader;
  readonly compile: CompileOptions;
}

/** A classification with the logits [classes] that it follows from. */
export interface ScoredClassification extends Classification {
  readonly logits: Float32Array;
}

/** Graphs are compiled when they are first needed, one per length of text, doubling from 32. Dispose of it. */
export class TextReader implements AsyncDisposable {
  /** The model that reads the text: the model itself, or a classifier's backbone. */
  readonly backbone: Model;
  readonly classifier: ClassifierModel | undefined;
  /** Maximum tokens read per text, including the special tokens around it. */
  readonly longest: number;
  readonly #parts: ReaderParts;
  readonly #programs = new Map<string, Promise<Program>>();
  #isDisposed = false;

  constructor(description: EncoderModel | ClassifierModel, parts: ReaderParts) {
    this.classifier = 'labels' in description ? description : undefined;
    this.backbone = 'labels' in description ? description.model : description;
    this.longest = Math.min(this.backbone.sizes.trainedLength, ...this.backbone.mixers.map(longestSequence));
    this.#parts = parts;
  }

  /** A text, or two, as the model reads them. @param longest tokens beyond which it is cut; Infinity cuts nothing */
  layOut(tokenizer: Tokenizer, text: string, pair?: string, longest = this.longest): LaidOutText {
    return layOutText(layoutOf(this.backbone), tokenizer, text, pair, longest);
  }

  /** The mean of the last hidden states of a text, of length 1: [width]. */
  async embedding(text: LaidOutText): Promise<Float32Array> {
    const vector = await this.#run('vector', text, (source, texts) => hiddenSum(this.backbone, source, texts));
    const length = Math.hypot(...vector);
    return vector.map((value) => (length === 0 ? 0 : value / length));
  }

  /** The class of a text. @throws LinnetError `CONFIG` for an encoder */
  async classify(text: LaidOutText): Promise<ScoredClassification> {
    const { classifier } = this;
    if (classifier === undefined) throw new LinnetError('CONFIG', 'the model is an encoder without classes');
    const logits = await this.#run('classes', text, (source, texts) => classifier.classLogits(source, texts));
    return { ...classification(classifier, logits), omitted: text.omitted, logits };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true;
    const compiled = await Promise.allSettled(this.#programs.values());
    this.#programs.clear();
    for (const program of compiled) if (program.status === 'fulfilled') await program.value.dispose();
  }

  /**
   * @param text at least one token, at most as many as the model reads
   * @throws LinnetError `RUNTIME` after disposal
   */
  async #run(what: string, { tokens: own, pairStart }: LaidOutText, result: Result): Promise<Float32Array> {
    if (this.#isDisposed) throw new LinnetError('RUNTIME', 'the model has been disposed; open it again');
    const { tokenizer } = this.#parts;
    const count = own.length;
    const length = Math.max(count, Math.min(this.longest, 2 ** Math.max(5, Math.ceil(Math.log2(count)))));
    // No position reads the padding.
    const tokens = new Int32Array(length).fill(tokenizer?.padId ?? tokenizer?.eosId ?? 0);
    tokens.set(own);
    const program = await this.#program(`${what} ${length}`, length, result);
    const feeds = {
      tokens: int32([1, length], tokens),
      mask: float32([1, length], new Float32Array(length).fill(1, 0, count)),
      last: int32([1], [count - 1]),
      segments: int32([1, length], new Int32Array(length).fill(1, pairStart, count)),
    };
    return dataOf((await program.run(onlyInputs(program, feeds), ['result'])).result, 'float32');
  }

  /** The program of a key; one that could not be compiled is tried again. */
  async #program(key: string, length: number, result: Result): Promise<Program> {
    const compiled = this.#programs.get(key) ?? this.#compile(length, result);
    this.#programs.set(key, compiled);
    try {
      return await compiled;
    } catch (error) {
      if (this.#programs.get(key) === compiled) this.#programs.delete(key);
      throw error;
    }
  }

  #compile(length: number, result: Result): Promise<Program> {
    const graph = new Graph('whole text');
    const texts = {
      tokens: graph.input('tokens', 'int32', [1, length]),
      mask: graph.input('mask', 'float32', [1, length]),
      last: graph.input('last', 'int32', [1]),
      segments: graph.input('segments', 'int32', [1, length]),
    };
    graph.output('result', result(storedParameters('f32', graph, this.#parts.weights), texts));
    return compile(graph, this.#parts.compile);
  }
}

type Result = (source: ParameterSource, texts: ClassifiedTexts) => Value;

/** Classification from logits: softmax over the classes, in float64; the number of a regression head. */
function classification({ labels, isRegression }: ClassifierModel, logits: Float32Array): Classification {
  const peak = Math.max(...logits);
  const weights = Array.from(logits, (logit) => Math.exp(logit - peak));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const classes = labels.map((label, id) => ({ label, probability: weights[id] / total }));
  const best = classes.reduce((one, other) => (other.probability > one.probability ? other : one));
  return { ...best, classes, ...(isRegression && { value: logits[0] }) };
}

/** The sum of the last hidden states of a text's own tokens, [1,width]; it has the direction of their mean. */
function hiddenSum(model: Model, source: ParameterSource, texts: ClassifiedTexts): Value {
  const [, n] = texts.tokens.shape.map(Number);
  const hidden = model.kind === 'causal' ? parallelHidden(model, source, texts.tokens) : model.encode(source, texts); // [1,n,width]
  const summed = matmul(reshape(texts.mask, [1, 1, n]), hidden); // [1,1,width]
  return reshape(summed, [1, model.sizes.width]);
}
