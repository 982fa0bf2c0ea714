/** Opened models for commands, the server and measurements: those that generate with their engine, all with a name. */
import { classifierRefusal } from '../checkpoint/load-model.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import type { NamedModel, TextModel } from '../engine/text-model.ts';
import { TokenPieces } from '../engine/text/token-pieces.ts';
import { LinnetError } from '../errors.ts';
import type { ExportManifest } from '../export/manifest.ts';
import { type Model, requireCausal, requireGenerating } from '../models/families/index.ts';
import type { CausalModel, GeneratingModel } from '../models/model.ts';
import { parameterCount } from '../nn/parameters.ts';
import type { ChatTemplate } from '../tokenizer/chat-template.ts';
import { openChatTemplate } from '../tokenizer/chat-template-sources.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { open, type OpenOptions } from './index.ts';
import type { OpenedModel } from './opened-model.ts';
import type { TextReader } from './text-reader.ts';

/** How such a model is opened, and its name for clients. */
export interface RunningOptions extends OpenOptions {
  /** Default: its origin. */
  readonly name?: string;
  /** A chat template instead of the folder's. */
  readonly chatTemplate?: string;
}

/** An opened model as clients know it. Dispose of it. */
abstract class ServedModel<Described extends Model> implements NamedModel, AsyncDisposable {
  readonly opened: OpenedModel;
  readonly model: Described;
  readonly name: string;
  readonly family: string;
  readonly fingerprint: string;
  readonly created = Math.floor(Date.now() / 1000);
  readonly vocabulary: number;
  readonly parameterCount: number;
  readonly template: ChatTemplate | undefined;
  #tokenizer: Tokenizer | undefined;
  #pieces: TokenPieces | undefined;

  constructor(opened: OpenedModel, model: Described, { name = opened.origin, template }: Called) {
    this.opened = opened;
    this.model = model;
    this.name = name;
    this.family = model.family;
    this.fingerprint = opened.fingerprint;
    this.template = template;
    this.vocabulary = model.sizes.vocabulary;
    this.parameterCount = parameterCount(model.parameters);
  }

  /** @throws LinnetError `NOT_FOUND` without one, `MISMATCH` for one with more tokens than the model has */
  get tokenizer(): Tokenizer {
    if (this.#tokenizer !== undefined) return this.#tokenizer;
    const { tokenizer, origin } = this.opened;
    if (tokenizer.vocabularySize <= this.vocabulary) return (this.#tokenizer = tokenizer);
    throw new LinnetError(
      'MISMATCH',
      `the tokenizer of ${origin} has ${tokenizer.vocabularySize} tokens, the model ${this.vocabulary}`,
    );
  }

  get pieces(): TokenPieces {
    this.#pieces ??= new TokenPieces(this.tokenizer);
    return this.#pieces;
  }

  /** Checks a server's needs. @throws LinnetError as `tokenizer`, and `FORMAT` for a chat template that cannot be parsed */
  prepare(): void {
    this.#pieces = new TokenPieces(this.tokenizer);
    this.template?.check();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.opened.dispose();
  }
}

interface Called {
  readonly name?: string;
  readonly template?: ChatTemplate;
}

/** A model that reads texts whole: an encoder, or a classifier with its backbone as `model`. */
export class ReadingModel extends ServedModel<Model> {
  readonly reader: TextReader;

  constructor(opened: OpenedModel, reader: TextReader, name?: string) {
    super(opened, reader.backbone, { name });
    this.reader = reader;
  }
}

/** A model that generates texts, with its engine. */
export class RunningModel<Described extends GeneratingModel = CausalModel>
  extends ServedModel<Described>
  implements TextModel
{
  readonly engine: StepEngine;

  constructor(opened: OpenedModel, model: Described, engine: StepEngine, called: Called) {
    super(opened, model, called);
    this.engine = engine;
  }

  /** Of an exported folder: how it is stored. */
  get manifest(): ExportManifest | undefined {
    return this.opened.manifest;
  }
}

/**
 * Opens a model that generates text: a causal one, or an encoder-decoder.
 * @throws LinnetError `CONFIG` for a model that generates nothing, and as `open`
 */
export function openGenerating(source: string, options?: RunningOptions): Promise<RunningModel<GeneratingModel>> {
  return openFor(source, options, (opened, called) => running(opened, requireGenerating, called));
}

/** Opens a causal model. @throws LinnetError `CONFIG` for a model of another kind, and as `open` */
export function openCausal(source: string, options?: RunningOptions): Promise<RunningModel> {
  return openFor(source, options, (opened, called) => running(opened, requireCausal, called));
}

/** Opens a model to be served, with a tokenizer that fits. @throws LinnetError as `openGenerating` and `prepare` */
export function openServed(
  source: string,
  options?: RunningOptions,
): Promise<RunningModel<GeneratingModel> | ReadingModel> {
  return openFor(source, options, async (opened, called) => {
    const { reader } = opened;
    const model = reader
      ? new ReadingModel(opened, reader, called.name)
      : await running(opened, requireGenerating, called);
    model.prepare();
    return model;
  });
}

async function openFor<Running>(
  source: string,
  { name, chatTemplate, ...options }: RunningOptions = {},
  make: (opened: OpenedModel, called: Called) => Promise<Running>,
): Promise<Running> {
  const opened = await open(source, options);
  try {
    const template =
      chatTemplate === undefined
        ? opened.chatTemplate
        : await openChatTemplate(chatTemplate, opened.tokenizer, '--chat-template');
    return await make(opened, { name, template });
  } catch (error) {
    await opened.dispose();
    throw error;
  }
}

async function running<Described extends GeneratingModel>(
  opened: OpenedModel,
  accept: (model: Model) => Described,
  called: Called,
): Promise<RunningModel<Described>> {
  if (opened.kind === 'classifier') throw classifierRefusal(opened.origin, opened.description.labels);
  return new RunningModel(opened, accept(opened.description), await opened.engine(), called);
}
