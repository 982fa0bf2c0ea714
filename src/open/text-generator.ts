/** Opened models that generate: causal ones, and those with an encoder and a decoder. Runs in browsers too. */
import { type ContinuationScore, scoreContinuations } from '../engine/scoring/continuations.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import { JsonSchemas } from '../decoding/constraints/json-schemas.ts';
import type { ExportManifest } from '../export/manifest.ts';
import { LinnetError } from '../errors.ts';
import type { GeneratingModel } from '../models/model.ts';
import type { ChatMessage } from '../tokenizer/chat-template.ts';
import {
  type DraftHeads,
  type ModelOrigin,
  Opened,
  type OpenedCausal,
  type OpenedEncoderDecoder,
} from './opened-model.ts';
import { type SessionContent, type SessionFiles, TextSession } from '../engine/session.ts';
import { type TextOptions, textOptionNames, type TextPieces } from '../engine/text-pieces.ts';
import { requireOptions, requireText, requireTexts, requireTokens } from '../files/arguments.ts';

/** Parts of a generating model. */
export interface GeneratingParts<Described extends GeneratingModel> extends ModelOrigin {
  readonly description: Described;
  /** The engine, or a function that makes it, called once when it is first needed. */
  readonly engine: StepEngine | (() => Promise<StepEngine>);
  /** Session files for the engine that is given; absent in browsers. */
  readonly sessionFiles?: (engine: StepEngine) => SessionFiles;
  /** Of an exported model. */
  readonly manifest?: ExportManifest;
  /** Medusa heads in the files of the model; absent in browsers. */
  readonly heads?: { readonly present: () => Promise<boolean>; readonly open: () => Promise<DraftHeads> };
}

/** A model that generates texts. */
class TextGenerator<Described extends GeneratingModel> extends Opened {
  readonly kind: Described['kind'];
  readonly description: Described;
  readonly #parts: GeneratingParts<Described>;
  #engine: Promise<StepEngine> | undefined;
  #isDisposed = false;
  #schemas: JsonSchemas | undefined;

  constructor(parts: GeneratingParts<Described>) {
    super(parts);
    this.kind = parts.description.kind;
    this.description = parts.description;
    this.#parts = parts;
    if (typeof parts.engine !== 'function') this.#engine = Promise.resolve(parts.engine);
  }

  override engine(): Promise<StepEngine> {
    if (this.#isDisposed) {
      return Promise.reject(new LinnetError('RUNTIME', `${this.origin} has been disposed; open it again`));
    }
    const { engine } = this.#parts;
    this.#engine ??= typeof engine === 'function' ? engine() : Promise.resolve(engine);
    return this.#engine;
  }

  override generate(prompt: string, options?: TextOptions): TextPieces {
    return this.session().continue(prompt, options);
  }

  override chat(messages: readonly ChatMessage[], options: TextOptions = {}): TextPieces {
    requireOptions(options, 'the options', textOptionNames);
    if (options.stopIds !== undefined) requireTokens(options.stopIds, 'stopIds');
    const { template } = this.#parts;
    const { tokenizer } = this;
    if (template === undefined || this.kind !== 'causal') {
      throw new LinnetError('CONFIG', `${this.origin} has no chat template: it continues texts; use generate`);
    }
    // The end of a turn, which is not always the configuration's end of a text.
    const stopIds = [...(options.stopIds ?? []), ...(tokenizer.eosId === undefined ? [] : [tokenizer.eosId])];
    return this.session().continuePrompt({ messages }, { ...options, stopIds });
  }

  override session(): TextSession {
    const { tokenizer } = this;
    const engine = (): Promise<StepEngine> => this.engine();
    const { sessionFiles, template } = this.#parts;
    const files = sessionFiles && {
      save: async (path: string, content: SessionContent) => sessionFiles(await engine()).save(path, content),
      load: async (path: string) => sessionFiles(await engine()).load(path),
    };
    this.#schemas ??= new JsonSchemas(tokenizer, this.description.sizes.vocabulary);
    return new TextSession({ engine, tokenizer, template, files, schemas: this.#schemas });
  }

  override async score(context: string, continuations: readonly string[]): Promise<ContinuationScore[]> {
    requireText(context, 'the context');
    requireTexts(continuations, 'the continuations');
    const { tokenizer } = this;
    return scoreContinuations({ engine: await this.engine(), tokenizer }, context, continuations);
  }

  get manifest(): ExportManifest | undefined {
    return this.#parts.manifest;
  }

  override async hasHeads(): Promise<boolean> {
    return (await this.#parts.heads?.present()) ?? false;
  }

  override heads(): Promise<DraftHeads> {
    return this.#parts.heads?.open() ?? super.heads();
  }

  override async dispose(): Promise<void> {
    this.#isDisposed = true;
    const engine = await this.#engine?.catch(() => undefined);
    await engine?.dispose();
  }
}

/** A generating model of any kind. */
export function textGenerator(
  description: GeneratingModel,
  parts: Omit<GeneratingParts<GeneratingModel>, 'description'>,
): OpenedCausal | OpenedEncoderDecoder {
  return description.kind === 'causal'
    ? new TextGenerator({ ...parts, description })
    : new TextGenerator({ ...parts, description });
}
