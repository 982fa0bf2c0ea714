/** Opened models that only read texts: encoders and classifiers. For Node. */
import type { MixerConfig } from '../attention/mixer.ts';
import { LinnetError } from '../errors.ts';
import { requireText } from '../files/arguments.ts';
import type { ClassifierModel } from '../models/classifiers/classifier.ts';
import type { LinearizeOptions } from '../models/linearization/linearize.ts';
import type { EncoderModel, Model } from '../models/model.ts';
import { type ModelSurroundings, OpenedModel, type SaveModelOptions, type WeightActions } from './opened-model.ts';
import type { Classification, TextReader } from './text-reader.ts';

/** A model that reads texts whole. */
abstract class WholeReader<Kind extends 'encoder' | 'classifier', Described> extends OpenedModel<Kind, Described> {
  readonly reader: TextReader;

  constructor(kind: Kind, description: Described, model: Model, reader: TextReader, around: ModelSurroundings) {
    super(kind, description, model, around);
    this.reader = reader;
  }

  /** Frees the memory of the graphs. */
  dispose(): Promise<void> {
    return this.reader[Symbol.asyncDispose]();
  }
}

/** A model that reads a text whole and predicts masked tokens. */
export class Encoder extends WholeReader<'encoder', EncoderModel> {
  readonly #weights: WeightActions<Encoder>;

  constructor(
    description: EncoderModel,
    reader: TextReader,
    around: ModelSurroundings,
    weights: WeightActions<Encoder>,
  ) {
    super('encoder', description, description, reader, around);
    this.#weights = weights;
  }

  /** As `LanguageModel.linearize`. */
  linearize(mixer: string | MixerConfig, options: LinearizeOptions = {}): Promise<Encoder> {
    return this.#weights.linearize(mixer, options);
  }

  /** As `LanguageModel.save`. */
  save(folder: string, options: SaveModelOptions = {}): Promise<void> {
    return this.#weights.save(folder, options);
  }
}

/** A model that tells classes of texts apart. */
export class Classifier extends WholeReader<'classifier', ClassifierModel> {
  constructor(description: ClassifierModel, reader: TextReader, around: ModelSurroundings) {
    super('classifier', description, description.model, reader, around);
  }

  /** The class of a text, or of two; the number that a regression head says of them. @throws LinnetError `INPUT` for a text without a token */
  async classify(text: string, pair?: string): Promise<Classification> {
    requireText(text, 'the text');
    if (pair !== undefined) requireText(pair, 'the second text');
    const laidOut = this.reader.layOut(this.tokenizer, text, pair);
    if (laidOut.tokens.length === 0) {
      throw new LinnetError('INPUT', 'the text to classify has no tokens; give some text');
    }
    const { logits: _, ...classification } = await this.reader.classify(laidOut);
    return classification;
  }
}
