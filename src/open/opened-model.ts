/** The result of `open`: a model of some kind, with all its actions. The same in Node and in browsers. */
import type { MixerConfig } from '../attention/mixer.ts';
import type { MedusaTree } from '../checkpoint/medusa-trees.ts';
import { Grammars } from '../decoding/constraints/grammar-constraint.ts';
import { LearnedByOwner } from '../decoding/speculation/drafters/registry.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import { type ContinuationScore, scoreContinuations } from '../engine/scoring/engine-scorer.ts';
import { type SessionFiles, TextSession } from '../engine/session.ts';
import { type TextOptions, textOptionNames, type TextPieces } from '../engine/text-pieces.ts';
import { LinnetError } from '../errors.ts';
import type { ExportManifest } from '../export/manifest.ts';
import { requireOptions, requireText, requireTexts, requireTokens } from '../files/arguments.ts';
import { inspection } from '../files/inspection.ts';
import type { Classifier } from '../models/classifiers/classifier.ts';
import type { LinearizeOptions } from '../models/linearization/linearize-by-name.ts';
import type { MedusaHeads } from '../models/medusa/medusa-heads.ts';
import type { CausalModel, EncoderDecoderModel, EncoderModel, GeneratingModel } from '../models/model.ts';
import type { ChatMessage, ChatTemplate } from '../tokenizer/chat-template.ts';
import { endOfTurn } from '../tokenizer/text-ends.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { Classification, TextReader } from './text-reader.ts';

/** How a model is saved. */
export interface SaveModelOptions {
  /** Element type of the weights. Default F32. */
  readonly dtype?: 'F32' | 'F16' | 'BF16';
  /** Replace the folder if it exists. Default false. */
  readonly replace?: boolean;
}

/** A model that predicts the next token. */
export type OpenedCausal = Opened<'causal', CausalModel>;
/** A model that reads a text whole and predicts masked tokens. */
export type OpenedEncoder = Opened<'encoder', EncoderModel>;
/** A model that reads a text and generates another. */
export type OpenedEncoderDecoder = Opened<'encoder-decoder', EncoderDecoderModel>;
/** A model that tells classes of texts apart. */
export type OpenedClassifier = Opened<'classifier', Classifier>;

/** An opened model, told apart by its `kind`. Dispose of it, best with `await using`. */
export type OpenedModel = OpenedCausal | OpenedEncoder | OpenedEncoderDecoder | OpenedClassifier;

/** Medusa heads, ready to draft. Dispose of them. */
export interface DraftHeads extends AsyncDisposable {
  readonly heads: MedusaHeads;
  /** The candidate tree that comes with them. */
  readonly tree?: MedusaTree;
}

/** Parts of an opened model: facts of every kind, and the parts that its kind or its files have. */
export interface OpenedParts {
  readonly family: string;
  readonly origin: string;
  readonly fingerprint: string;
  readonly tokenizer: Tokenizer | undefined;
  readonly template?: ChatTemplate;
  /** Actions on weights in memory, which exported folders do not have. */
  readonly changes?: Pick<OpenedEncoder, 'linearize' | 'save'>;
  /** Of a model that generates texts. */
  readonly generating?: GeneratingParts;
  /** Of an encoder or a classifier. */
  readonly reader?: TextReader;
}

export interface GeneratingParts {
  readonly model: GeneratingModel;
  /** The engine, which is disposed of with the model; or makes it, called once, when it is first needed. */
  readonly engine: StepEngine | (() => Promise<StepEngine>);
  /** Absent in browsers. */
  readonly sessionFiles?: SessionFiles;
  /** Of an exported model. */
  readonly manifest?: ExportManifest;
  /** Medusa heads in the files of the model; absent in browsers. */
  readonly heads?: { readonly present: () => Promise<boolean>; readonly open: () => Promise<DraftHeads> };
}

/** An opened model of any kind. Actions that its kind or its folder cannot do are refused with a LinnetError. */
export class Opened<Kind extends string, Described> implements AsyncDisposable {
  readonly kind: Kind;
  readonly description: Described;
  /** Its `model_type`: "llama", "t5". */
  readonly family: string;
  /** Folder or URL that it was opened from. */
  readonly origin: string;
  /** SHA-256 of configuration and weights, which ties session files to the model. */
  readonly fingerprint: string;
  readonly chatTemplate: ChatTemplate | undefined;
  /** How an exported model is stored; undefined for one that was not exported. */
  readonly manifest: ExportManifest | undefined;
  /** Of an encoder or a classifier. */
  readonly reader: TextReader | undefined;
  readonly #parts: OpenedParts;
  #engine: Promise<StepEngine> | undefined;
  #isDisposed = false;
  #grammars: Grammars | undefined;
  readonly #learned = new LearnedByOwner();

  constructor(kind: Kind, description: Described, parts: OpenedParts) {
    this.kind = kind;
    this.description = description;
    this.family = parts.family;
    this.origin = parts.origin;
    this.fingerprint = parts.fingerprint;
    this.chatTemplate = parts.template;
    this.manifest = parts.generating?.manifest;
    this.reader = parts.reader;
    this.#parts = parts;
    const engine = parts.generating?.engine;
    if (typeof engine === 'object') this.#engine = Promise.resolve(engine);
  }

  /** Whether there is a chat template. */
  get canChat(): boolean {
    return this.chatTemplate !== undefined;
  }

  /** @throws LinnetError `NOT_FOUND` for a model that has none */
  get tokenizer(): Tokenizer {
    if (this.#parts.tokenizer !== undefined) return this.#parts.tokenizer;
    throw new LinnetError(
      'NOT_FOUND',
      `${this.origin} has no tokenizer.json; copy tokenizer.json and tokenizer_config.json of its model there, or work ` +
        'with token ids and the engine (--set promptTokens of commands)',
    );
  }

  /**
   * Continues a text, or generates another from it where the model has an encoder and a decoder. BOS and EOS are added
   * where the model has them.
   * @throws LinnetError `CONFIG` for a model that generates nothing, `NOT_FOUND` without a tokenizer; later as
   *   `decoding.generate`
   */
  generate(prompt: string, options?: TextOptions): TextPieces {
    return this.session().continue(prompt, options);
  }

  /**
   * Answers a conversation, as the chat template of the model says.
   * @throws LinnetError `CONFIG` for a model that generates nothing or has no chat template; later as `chatTokens` and
   *   `decoding.generate`
   */
  chat(messages: readonly ChatMessage[], options: TextOptions = {}): TextPieces {
    this.#generating('generates no text');
    requireOptions(options, 'the options', textOptionNames);
    if (options.stopIds !== undefined) requireTokens(options.stopIds, 'stopIds');
    const { tokenizer } = this;
    if (this.chatTemplate === undefined || this.kind !== 'causal') {
      throw new LinnetError('CONFIG', `${this.origin} has no chat template: it continues texts; use generate`);
    }
    const stopIds = [...(options.stopIds ?? []), ...endOfTurn(tokenizer)];
    return this.session().continuePrompt({ messages }, { ...options, stopIds });
  }

  /** The class of a text, or of two; the number that a regression head says of them. @throws LinnetError `CONFIG` for a model that is not a classifier */
  async classify(text: string, pair?: string): Promise<Classification> {
    if (this.reader?.classifier === undefined) {
      throw this.#refusal('is not a classifier; train one with finetune --objective classify');
    }
    requireText(text, 'the text');
    if (pair !== undefined) requireText(pair, 'the second text');
    const laidOut = this.reader.layOut(this.tokenizer, text, pair);
    if (laidOut.tokens.length === 0) {
      throw new LinnetError('INPUT', 'the text to classify has no token; give some text');
    }
    const { logits: _, ...classification } = await this.reader.classify(laidOut);
    return classification;
  }

  /**
   * Log-likelihoods of continuations given a context, in the order of the continuations. Spaces at the end of the context
   * count to the continuation, which words begin with; tokens are those of context and continuation as one text.
   * @throws LinnetError `CONFIG` for a model that generates nothing; `INPUT` for an empty continuation
   */
  async score(context: string, continuations: readonly string[]): Promise<ContinuationScore[]> {
    this.#generating('does not predict texts token by token');
    requireText(context, 'the context');
    requireTexts(continuations, 'the continuations');
    const { tokenizer } = this;
    return scoreContinuations({ engine: await this.engine(), tokenizer }, context, continuations);
  }

  /** An empty text to continue piece by piece, to fork, save and load. @throws LinnetError `CONFIG` as `generate` */
  session(): TextSession {
    const { model, sessionFiles: files } = this.#generating('generates no text');
    const { tokenizer, chatTemplate: template } = this;
    const grammars = (this.#grammars ??= new Grammars(tokenizer, model.sizes.vocabulary));
    const learned = this.#learned;
    return new TextSession({ engine: () => this.engine(), tokenizer, template, files, grammars, learned });
  }

  /**
   * The model with another mixer in place of its attention; this one stays as it is.
   * @param mixer the name of a preset, or a configuration
   * @throws LinnetError `CONFIG` for an exported model, a classifier, or a mixer that the model cannot have
   */
  async linearize(mixer: string | MixerConfig, options: LinearizeOptions = {}): Promise<OpenedModel> {
    const reason = 'cannot be given another mixer; linearize the checkpoint it was made from';
    return await this.#have(this.#parts.changes, reason).linearize(mixer, options);
  }

  /** Saves the model as a Hugging Face folder, tokenizer included. @throws LinnetError `CONFIG` for an exported model */
  async save(folder: string, options: SaveModelOptions = {}): Promise<void> {
    await this.#have(this.#parts.changes, 'is exported, without weights to save; copy its folder').save(
      folder,
      options,
    );
  }

  /** The engine that decodes, compiled when first asked for. @throws LinnetError `CONFIG` as `generate` */
  async engine(): Promise<StepEngine> {
    const { engine } = this.#generating('generates no text');
    if (this.#isDisposed) throw new LinnetError('RUNTIME', `${this.origin} has been disposed; open it again`);
    this.#engine ??= typeof engine === 'object' ? Promise.resolve(engine) : engine();
    return await this.#engine;
  }

  /** Whether the model has Medusa heads, valid or not. */
  async hasHeads(): Promise<boolean> {
    return (await this.#parts.generating?.heads?.present()) ?? false;
  }

  /**
   * The Medusa heads of the model, stored as it is. Dispose of them.
   * @throws LinnetError `NOT_FOUND` if there are none, `MISMATCH` for heads of another model, `CONFIG` in browsers
   */
  async heads(): Promise<DraftHeads> {
    return await this.#have(this.#parts.generating?.heads, 'has no Medusa heads here').open();
  }

  /** Frees the engine's memory. */
  async dispose(): Promise<void> {
    this.#isDisposed = true;
    await this.reader?.[Symbol.asyncDispose]();
    const engine = await this.#engine?.catch(() => undefined);
    await engine?.dispose();
  }

  /** As `dispose`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** Shown by `console.log`. */
  toJSON(): Readonly<Record<string, unknown>> {
    const { kind, family, origin, fingerprint, canChat } = this;
    return { kind, family, origin, fingerprint, canChat };
  }

  /** The lines that `console.log` prints. */
  [inspection](): Readonly<Record<string, unknown>> {
    return this.toJSON();
  }

  #generating(reason: string): GeneratingParts {
    return this.#have(this.#parts.generating, reason);
  }

  /** A part. @throws LinnetError `CONFIG` where the model has none */
  #have<T>(part: T | undefined, reason: string): T {
    if (part !== undefined) return part;
    throw this.#refusal(reason);
  }

  #refusal(reason: string): LinnetError {
    return new LinnetError('CONFIG', `${this.origin}: this ${this.family} model (${this.kind}) ${reason}`);
  }
}

/** A generating model of any kind. */
export function openedGenerator(
  model: GeneratingModel,
  parts: Omit<OpenedParts, 'family' | 'reader' | 'generating'>,
  generating: Omit<GeneratingParts, 'model'>,
): OpenedCausal | OpenedEncoderDecoder {
  const all = { ...parts, family: model.family, generating: { ...generating, model } };
  return model.kind === 'causal' ? new Opened('causal', model, all) : new Opened('encoder-decoder', model, all);
}
