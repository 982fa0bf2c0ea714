/** The result of `open`: a model of some kind, with all its actions. The same in Node and in browsers. */
import type { MixerConfig } from '../attention/mixer.ts';
import type { MedusaTree } from '../checkpoint/medusa-trees.ts';
import type { ExportManifest } from '../export/manifest.ts';
import type { MedusaHeads } from '../models/medusa/medusa-heads.ts';
import type { ContinuationScore } from '../engine/scoring/continuations.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError } from '../errors.ts';
import { inspection } from '../files/inspection.ts';
import type { Classifier } from '../models/classifiers/classifier.ts';
import type { LinearizeOptions } from '../models/linearization/linearize-by-name.ts';
import type { CausalModel, EncoderDecoderModel, EncoderModel } from '../models/model.ts';
import type { ChatMessage, ChatTemplate } from '../tokenizer/chat-template.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { TextSession } from '../engine/session.ts';
import type { TextOptions, TextPieces } from '../engine/text-pieces.ts';

/** How a model is saved. */
export interface SaveModelOptions {
  /** Element type of the weights. Default F32. */
  readonly dtype?: 'F32' | 'F16' | 'BF16';
  /** Replace the folder if it exists. Default false. */
  readonly replace?: boolean;
}

/** A classifier's result for a text. */
export interface Classification {
  /** The most probable class; the name of the number, of a regression head. */
  readonly label: string;
  /** Its probability; 1 for a regression head, which has one label only. */
  readonly probability: number;
  /** All classes in the order of the model's labels; the probabilities add up to 1. */
  readonly classes: readonly { readonly label: string; readonly probability: number }[];
  /** The number of a regression head; undefined for classes. */
  readonly value?: number;
}

/** Actions of an opened model. Actions that its kind or its folder cannot do are refused with a LinnetError. */
export interface ModelActions extends AsyncDisposable {
  /** Its `model_type`: "llama", "t5". */
  readonly family: string;
  /** Folder or URL that it was opened from. */
  readonly origin: string;
  /** SHA-256 of configuration and weights, which ties session files to the model. */
  readonly fingerprint: string;
  /** @throws LinnetError `NOT_FOUND` for a model that has none */
  readonly tokenizer: Tokenizer;
  /** Whether there is a chat template. */
  readonly canChat: boolean;
  readonly chatTemplate?: ChatTemplate;
  /**
   * Continues a text, or generates another from it where the model has an encoder and a decoder. BOS and EOS are added
   * where the model has them.
   * @throws LinnetError `CONFIG` for a model that generates nothing, `NOT_FOUND` without a tokenizer; later as
   *   `decoding.generate`
   */
  generate(prompt: string, options?: TextOptions): TextPieces;
  /**
   * Answers a conversation, as the chat template of the model says.
   * @throws LinnetError `CONFIG` for a model that generates nothing or has no chat template; later as `chatTokens` and
   *   `decoding.generate`
   */
  chat(messages: readonly ChatMessage[], options?: TextOptions): TextPieces;
  /** The class of a text, or of two; the number that a regression head says of them. @throws LinnetError `CONFIG` for a model that is not a classifier */
  classify(text: string, pair?: string): Promise<Classification>;
  /**
   * Log-likelihoods of continuations given a context, in the order of the continuations. Spaces at the end of the context
   * count to the continuation, which words begin with; tokens are those of context and continuation as one text.
   * @throws LinnetError `CONFIG` for a model that generates nothing; `INPUT` for an empty continuation
   */
  score(context: string, continuations: readonly string[]): Promise<ContinuationScore[]>;
  /** An empty text to continue piece by piece, to fork, save and load. @throws LinnetError `CONFIG` as `generate` */
  session(): TextSession;
  /**
   * The model with another mixer in place of its attention; this one stays as it is.
   * @param mixer the name of a preset, or a configuration
   * @throws LinnetError `CONFIG` for an exported model, a classifier, or a mixer that the model cannot have
   */
  linearize(mixer: string | MixerConfig, options?: LinearizeOptions): Promise<OpenedModel>;
  /** Saves the model as a Hugging Face folder, tokenizer included. @throws LinnetError `CONFIG` for an exported model */
  save(folder: string, options?: SaveModelOptions): Promise<void>;
  /** The engine that decodes, compiled when first asked for. @throws LinnetError `CONFIG` as `generate` */
  engine(): Promise<StepEngine>;
  /** How an exported model is stored; undefined for one that was not exported. */
  readonly manifest?: ExportManifest;
  /** Whether the model has Medusa heads, valid or not. */
  hasHeads(): Promise<boolean>;
  /**
   * The Medusa heads of the model, stored as it is. Dispose of them.
   * @throws LinnetError `NOT_FOUND` if there are none, `MISMATCH` for heads of another model, `CONFIG` in browsers
   */
  heads(): Promise<DraftHeads>;
  /** Frees the engine's memory. */
  dispose(): Promise<void>;
}

/** A model that predicts the next token. */
export interface OpenedCausal extends ModelActions {
  readonly kind: 'causal';
  readonly description: CausalModel;
}

/** A model that reads a text whole and predicts masked tokens. */
export interface OpenedEncoder extends ModelActions {
  readonly kind: 'encoder';
  readonly description: EncoderModel;
}

/** A model that reads a text and generates another. */
export interface OpenedEncoderDecoder extends ModelActions {
  readonly kind: 'encoder-decoder';
  readonly description: EncoderDecoderModel;
}

/** A model that tells classes of texts apart. */
export interface OpenedClassifier extends ModelActions {
  readonly kind: 'classifier';
  readonly description: Classifier;
}

/** An opened model, told apart by its `kind`. Dispose of it, best with `await using`. */
export type OpenedModel = OpenedCausal | OpenedEncoder | OpenedEncoderDecoder | OpenedClassifier;

/** Medusa heads, ready to draft. Dispose of them. */
export interface DraftHeads extends AsyncDisposable {
  readonly heads: MedusaHeads;
  /** The candidate tree that comes with them. */
  readonly tree?: MedusaTree;
}

/** Facts of every kind of model, wherever it comes from. */
export interface ModelOrigin {
  readonly family: string;
  readonly origin: string;
  readonly fingerprint: string;
  readonly tokenizer: Tokenizer | undefined;
  /** Of models that answer conversations. */
  readonly template?: ChatTemplate;
  /** Absent where the weights are not at hand, as in exported folders. */
  readonly changes?: ModelChanges;
}

/** Actions on the weights of a model. */
export interface ModelChanges {
  linearize(mixer: string | MixerConfig, options: LinearizeOptions): Promise<OpenedModel>;
  save(folder: string, options: SaveModelOptions): Promise<void>;
}

/** A model that refuses everything that its kind cannot do; kinds override the actions they can. */
export abstract class Opened implements ModelActions {
  readonly family: string;
  readonly origin: string;
  readonly fingerprint: string;
  readonly chatTemplate: ChatTemplate | undefined;
  readonly #tokenizer: Tokenizer | undefined;
  readonly #changes: ModelChanges | undefined;
  abstract readonly kind: OpenedModel['kind'];

  constructor({ family, origin, fingerprint, tokenizer, template, changes }: ModelOrigin) {
    this.chatTemplate = template;
    this.family = family;
    this.origin = origin;
    this.fingerprint = fingerprint;
    this.#tokenizer = tokenizer;
    this.#changes = changes;
  }

  get canChat(): boolean {
    return this.chatTemplate !== undefined;
  }

  get tokenizer(): Tokenizer {
    if (this.#tokenizer !== undefined) return this.#tokenizer;
    throw new LinnetError(
      'NOT_FOUND',
      `${this.origin} has no tokenizer.json; copy tokenizer.json and tokenizer_config.json of its model there, or work ` +
        'with token ids and the engine (--prompt-tokens of commands)',
    );
  }

  generate(_prompt: string, _options?: TextOptions): TextPieces {
    throw this.#refusal('generates no text');
  }

  chat(_messages: readonly ChatMessage[], _options?: TextOptions): TextPieces {
    throw this.#refusal('generates no text');
  }

  classify(_text: string, _pair?: string): Promise<Classification> {
    return Promise.reject(this.#refusal('is not a classifier; train one with finetune --objective classify'));
  }

  score(_context: string, _continuations: readonly string[]): Promise<ContinuationScore[]> {
    return Promise.reject(this.#refusal('does not predict texts token by token'));
  }

  session(): TextSession {
    throw this.#refusal('generates no text');
  }

  linearize(mixer: string | MixerConfig, options: LinearizeOptions = {}): Promise<OpenedModel> {
    if (this.#changes !== undefined) return this.#changes.linearize(mixer, options);
    return Promise.reject(this.#refusal('cannot be given another mixer; linearize the checkpoint it was made from'));
  }

  save(folder: string, options: SaveModelOptions = {}): Promise<void> {
    if (this.#changes !== undefined) return this.#changes.save(folder, options);
    return Promise.reject(this.#refusal('is exported, without weights to save; copy its folder'));
  }

  engine(): Promise<StepEngine> {
    return Promise.reject(this.#refusal('generates no text'));
  }

  hasHeads(): Promise<boolean> {
    return Promise.resolve(false);
  }

  heads(): Promise<DraftHeads> {
    return Promise.reject(this.#refusal('has no Medusa heads here'));
  }

  async dispose(): Promise<void> {
    // Kinds that hold an engine override this.
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** Shown by `console.log`. */
  toJSON(): Readonly<Record<string, unknown>> {
    const { kind, family, origin, fingerprint, canChat } = this;
    return { kind, family, origin, fingerprint, canChat };
  }

  [inspection](): Readonly<Record<string, unknown>> {
    return this.toJSON();
  }

  #refusal(reason: string): LinnetError {
    return new LinnetError('CONFIG', `${this.origin}: this ${this.family} model (${this.kind}) ${reason}`);
  }
}
