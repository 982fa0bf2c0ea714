/** Facts and actions that opened models of every kind have. The same in Node and in browsers. */
import type { MixerConfig } from '../attention/mixer.ts';
import type { SamplerInput } from '../decoding/sampler.ts';
import { LinnetError } from '../errors.ts';
import { inspection } from '../files/inspection.ts';
import type { LinearizeOptions } from '../models/linearization/linearize.ts';
import type { ClassifierModel } from '../models/classifiers/classifier.ts';
import type { Model, ModelDescription } from '../models/model.ts';
import { parameterCount } from '../nn/parameters.ts';
import type { ChatTemplate } from '../tokenizer/chat-template.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { TokenPieces } from '../engine/text/token-pieces.ts';
import type { JsonObject } from '../files/json-object.ts';

/** How a model is saved. */
export interface SaveModelOptions {
  /** Element type of the weights. Default F32. */
  readonly dtype?: 'F32' | 'F16' | 'BF16';
  /** Replace the folder if it exists. Default false. */
  readonly replace?: boolean;
}

/** Actions on the weights of a checkpoint, which exported folders do not have. */
export interface WeightActions<Self> {
  linearize(mixer: string | MixerConfig, options: LinearizeOptions): Promise<Self>;
  save(folder: string, options: SaveModelOptions): Promise<void>;
}

/** All kinds of opened models, for programs that take any. */
export const openedKinds = ['causal', 'encoder-decoder', 'encoder', 'classifier'] as const;

/** The name of a kind of opened models. */
export type OpenedKind = (typeof openedKinds)[number];

/** Kinds of models that write texts. */
export const writerKinds = ['causal', 'encoder-decoder'] as const;

const kindNames: Readonly<Record<OpenedKind, string>> = {
  causal: 'a causal language model',
  'encoder-decoder': 'an encoder-decoder: it reads a text and writes another',
  encoder: 'an encoder: it reads texts and generates none',
  classifier: 'a classifier',
};

/** @throws LinnetError `CONFIG` for a model of another kind than one of these */
export function requireOpenedKind(model: Model | ClassifierModel, origin: string, kinds: readonly OpenedKind[]): void {
  const [kind, { family }] =
    'labels' in model ? (['classifier', model.model] as const) : ([model.kind, model] as const);
  if (kinds.includes(kind)) return;
  const expected = kinds.map((each) => kindNames[each].replace(/:.*/, '')).join(' or ');
  const advice = kinds.includes('classifier') ? ', such as "linnet finetune MODEL --objective classify" makes' : '';
  throw new LinnetError(
    'CONFIG',
    `${origin}: this ${family} model is ${kindNames[kind]}; expected ${expected}${advice}`,
  );
}

/** Where a model comes from, and the files around its weights. */
export interface ModelSurroundings {
  /** Folder or URL that it was opened from. */
  readonly origin: string;
  /** SHA-256 of configuration and weights. */
  readonly fingerprint: string;
  /** What clients call it. Default: its origin. */
  readonly name?: string;
  /** Bytes of its files of weights. Default 0: unknown. */
  readonly fileBytes?: number;
  readonly tokenizer?: Tokenizer;
  readonly template?: ChatTemplate;
  /** Sampling if neither a text's options nor its program set it. Default: greedy. */
  readonly defaults?: SamplerInput;
}

/** An opened model. Dispose of it, best with `await using`. */
export abstract class OpenedModel<Kind extends OpenedKind, Described> implements AsyncDisposable {
  readonly kind: Kind;
  readonly description: Described;
  /** Its `model_type`: "llama", "t5". */
  readonly family: string;
  /** What clients call it. */
  readonly name: string;
  /** Folder or URL that it was opened from. */
  readonly origin: string;
  /** SHA-256 of configuration and weights, which ties session files to the model. */
  readonly fingerprint: string;
  /** The chat template, if any. */
  readonly template: ChatTemplate | undefined;
  /** Unix time at which it was opened, in seconds. */
  readonly created = Math.floor(Date.now() / 1000);
  /** Bytes of the files of weights that it was opened from; 0 in browsers. */
  readonly fileBytes: number;
  /** V. */
  readonly vocabulary: number;
  /** The context length it was trained for, in tokens. */
  readonly trainedLength: number;
  /** Numbers that it has learned. */
  readonly parameterCount: number;
  readonly #tokenizer: Tokenizer | undefined;
  #pieces: TokenPieces | undefined;

  /** @param model the description, or the backbone of a classifier */
  constructor(
    kind: Kind,
    description: Described,
    model: ModelDescription,
    { origin, fingerprint, name = origin, fileBytes = 0, tokenizer, template }: ModelSurroundings,
  ) {
    this.kind = kind;
    this.description = description;
    this.family = model.family;
    this.name = name;
    this.origin = origin;
    this.fingerprint = fingerprint;
    this.template = template;
    this.fileBytes = fileBytes;
    this.vocabulary = model.sizes.vocabulary;
    this.trainedLength = model.sizes.trainedLength;
    this.parameterCount = parameterCount(model.parameters);
    this.#tokenizer = tokenizer;
  }

  /** Whether there is a tokenizer: without one a model works with token ids alone. */
  get hasTokenizer(): boolean {
    return this.#tokenizer !== undefined;
  }

  /** @throws LinnetError `NOT_FOUND` for a model that has none, `MISMATCH` for one with more tokens than the model has */
  get tokenizer(): Tokenizer {
    const tokenizer = this.#tokenizer;
    if (tokenizer === undefined) {
      throw new LinnetError(
        'NOT_FOUND',
        `${this.origin} has no tokenizer.json; copy its model's tokenizer.json and tokenizer_config.json there, or use ` +
          'token ids and the engine (--prompt-tokens on the command line)',
      );
    }
    if (tokenizer.vocabularySize <= this.vocabulary) return tokenizer;
    throw new LinnetError(
      'MISMATCH',
      `the tokenizer of ${this.origin} has ${tokenizer.vocabularySize} tokens, but the model ${this.vocabulary}`,
    );
  }

  /** The texts of single tokens. */
  get pieces(): TokenPieces {
    this.#pieces ??= new TokenPieces(this.tokenizer);
    return this.#pieces;
  }

  /** Checks the needs of a server. @throws LinnetError as `tokenizer`, and `FORMAT` for a chat template that cannot be parsed */
  prepare(): void {
    this.#pieces = new TokenPieces(this.tokenizer);
    this.template?.check();
  }

  /** Frees memory of the engine. */
  abstract dispose(): Promise<void>;

  /** As `dispose`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** Shown by `console.log`. */
  toJSON(): JsonObject {
    const { kind, family, origin, fingerprint, template } = this;
    return { kind, family, origin, fingerprint, canChat: template !== undefined };
  }

  /** The lines that `console.log` prints. */
  [inspection](): JsonObject {
    return this.toJSON();
  }

  /** A part. @throws LinnetError `CONFIG` if the model lacks it */
  protected have<T>(part: T | undefined, reason: string): T {
    if (part !== undefined) return part;
    throw new LinnetError('CONFIG', `${this.origin}: this ${this.family} model (${this.kind}) ${reason}`);
  }
}
