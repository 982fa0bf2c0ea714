/** A model that writes texts, compiled, for commands, the server and measurements. */
import { classifierRefusal } from '../checkpoint/load-model.ts';
import type { NamedModel, TextModel } from '../engine/text-model.ts';
import { TokenPieces } from '../engine/text/token-pieces.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError } from '../errors.ts';
import type { ExportManifest } from '../export/manifest.ts';
import { elementCount } from '../graph/tensor.ts';
import { type Model, requireCausal, requireGenerating } from '../models/families/index.ts';
import type { CausalModel, GeneratingModel, ModelDescription } from '../models/model.ts';
import type { ChatTemplate } from '../tokenizer/chat-template.ts';
import { openChatTemplate } from '../tokenizer/chat-template-sources.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { open, type OpenOptions } from './index.ts';
import type { DraftHeads, ModelActions, OpenedModel } from './opened-model.ts';

/** An opened model as clients know it. */
export class ServedModel<Opened extends ModelActions> implements NamedModel, AsyncDisposable {
  readonly opened: Opened;
  readonly name: string;
  readonly created = Math.floor(Date.now() / 1000);
  readonly vocabulary: number;
  readonly parameterCount: number;
  #pieces: TokenPieces | undefined;

  constructor(opened: Opened, { sizes, parameters }: Pick<ModelDescription, 'sizes' | 'parameters'>, name: string) {
    this.opened = opened;
    this.name = name;
    this.vocabulary = sizes.vocabulary;
    this.parameterCount = [...parameters.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0);
  }

  /** @throws LinnetError `NOT_FOUND` without one, `MISMATCH` for one with more tokens than the model has */
  get tokenizer(): Tokenizer {
    const { tokenizer, origin } = this.opened;
    if (tokenizer.vocabularySize <= this.vocabulary) return tokenizer;
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
    this.#pieces ??= new TokenPieces(this.tokenizer);
  }

  get fingerprint(): string {
    return this.opened.fingerprint;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.opened.dispose();
  }
}

/** How such a model is opened, and its name for clients. */
export interface RunningOptions extends OpenOptions {
  /** Default: its origin. */
  readonly name?: string;
  /** A chat template instead of the folder's. */
  readonly chatTemplate?: string;
}

interface Called {
  readonly name?: string;
  readonly template: ChatTemplate | undefined;
}

/** Such a model with its engine. Dispose of it. */
export class RunningModel<Described extends GeneratingModel = CausalModel>
  extends ServedModel<OpenedModel>
  implements TextModel
{
  readonly model: Described;
  readonly engine: StepEngine;
  readonly template: ChatTemplate | undefined;

  constructor(opened: OpenedModel, model: Described, engine: StepEngine, { name = opened.origin, template }: Called) {
    super(opened, model, name);
    this.model = model;
    this.engine = engine;
    this.template = template;
  }

  override prepare(): void {
    super.prepare();
    this.template?.check();
  }

  /** The folder that it was opened from: the place of its tokenizer. */
  get path(): string {
    return this.opened.origin;
  }

  /** Of an exported folder: how it is stored. */
  get manifest(): ExportManifest | undefined {
    return this.opened.manifest;
  }

  hasHeads(): Promise<boolean> {
    return this.opened.hasHeads();
  }

  heads(): Promise<DraftHeads> {
    return this.opened.heads();
  }
}

/**
 * Opens a model that generates text: a causal one, or an encoder-decoder.
 * @throws LinnetError `CONFIG` for a model that generates nothing, and as `open`
 */
export function openGenerating(source: string, options?: RunningOptions): Promise<RunningModel<GeneratingModel>> {
  return openRunning(source, requireGenerating, options);
}

/** Opens a causal model. @throws LinnetError `CONFIG` for a model of another kind, and as `open` */
export function openCausal(source: string, options?: RunningOptions): Promise<RunningModel> {
  return openRunning(source, requireCausal, options);
}

async function openRunning<Described extends GeneratingModel>(
  source: string,
  accept: (model: Model) => Described,
  { name, chatTemplate, ...options }: RunningOptions = {},
): Promise<RunningModel<Described>> {
  const opened = await open(source, options);
  try {
    return await running(opened, accept, { name, chatTemplate });
  } catch (error) {
    await opened.dispose();
    throw error;
  }
}

/** An opened model with its engine. @throws LinnetError as `accept`, and `CONFIG` for a classifier */
export async function running<Described extends GeneratingModel>(
  opened: OpenedModel,
  accept: (model: Model) => Described,
  { name, chatTemplate }: Pick<RunningOptions, 'name' | 'chatTemplate'> = {},
): Promise<RunningModel<Described>> {
  if (opened.kind === 'classifier') throw classifierRefusal(opened.origin, opened.description.labels);
  const model = accept(opened.description);
  const template =
    chatTemplate === undefined
      ? opened.chatTemplate
      : await openChatTemplate(chatTemplate, opened.tokenizer, '--chat-template');
  return new RunningModel(opened, model, await opened.engine(), { name, template });
}
