/** Opened models that write texts. The same in Node and in browsers. */
import type { MixerConfig } from '../attention/mixer.ts';
import type { MedusaTree } from '../checkpoint/medusa-trees.ts';
import { Grammars } from '../decoding/constraints/grammar-constraint.ts';
import type { SamplerInput } from '../decoding/sampler.ts';
import { LearnedByOwner } from '../decoding/speculation/drafters/registry.ts';
import type { Snapshot } from '../decoding/state/session-format.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError } from '../errors.ts';
import type { ExportManifest } from '../export/manifest.ts';
import { requireKind, requireText, requireTexts } from '../files/arguments.ts';
import type { LinearizeOptions } from '../models/linearization/linearize.ts';
import type { MedusaHeads } from '../models/medusa/medusa-heads.ts';
import { type AutoregressiveModel, type CausalModel, decoderOf, type EncoderDecoderModel } from '../models/model.ts';
import type { ChatMessage } from '../tokenizer/chat-template.ts';
import { OpenedModel, type ModelSurroundings, type SaveModelOptions, type WeightActions } from './opened-model.ts';
import { Runner } from '../engine/runner.ts';
import { Thinking } from '../engine/thinking/thinking.ts';
import { type ContinuationScore, scoreContinuations } from '../engine/scoring/engine-scorer.ts';
import { Session, type SessionModel, type TextPieces } from '../engine/session.ts';
import type { SessionFiles } from '../engine/session-store.ts';
import type { RunnerOptions } from '../engine/text-job.ts';
import type { TextOptions } from '../engine/text-options.ts';

/** Medusa heads, ready to draft. Dispose of them. */
export interface DraftHeads extends AsyncDisposable {
  readonly heads: MedusaHeads;
  /** The candidate tree that comes with them. */
  readonly tree?: MedusaTree;
}

/** Parts of a model that writes texts. */
export interface WriterParts<Self> extends ModelSurroundings {
  /** Creates the engine, disposed of with the model; called once, when first needed. */
  readonly engine: () => Promise<StepEngine>;
  readonly sessionFiles?: SessionFiles;
  /** How an exported model is stored. */
  readonly manifest?: ExportManifest;
  /** Medusa heads in the files of the model; absent in browsers. */
  readonly heads?: { readonly present: () => Promise<boolean>; readonly open: () => Promise<DraftHeads> };
  /** Creates the engine of the multi-token prediction layer, if there is one. */
  readonly mtp?: () => Promise<StepEngine>;
  readonly weights?: WeightActions<Self>;
}

/** A model that writes texts token by token. */
abstract class Writer<Described extends CausalModel | EncoderDecoderModel, Self> extends OpenedModel<
  Described['kind'],
  Described
> {
  /** The model that predicts the next token. */
  readonly decoder: AutoregressiveModel;
  /** Sampling defaults from generation_config.json; options come first, the program's defaults last. */
  readonly defaults: SamplerInput;
  /** How an exported model is stored; undefined for one that was not exported. */
  readonly manifest: ExportManifest | undefined;
  /** What drafters have learned from texts of the model. */
  readonly learned = new LearnedByOwner();
  readonly #parts: WriterParts<Self>;
  #engine: Promise<StepEngine> | undefined;
  #isDisposed = false;
  #grammars: Grammars | undefined;
  #sessionModel: SessionModel | undefined;

  constructor(description: Described, parts: WriterParts<Self>) {
    super(description.kind, description, description, parts);
    this.decoder = decoderOf(description);
    this.defaults = parts.defaults ?? {};
    this.manifest = parts.manifest;
    this.#parts = parts;
  }

  /** Grammars that texts are held to, made ready once. @throws LinnetError as `tokenizer` */
  get grammars(): Grammars {
    this.#grammars ??= new Grammars(this.tokenizer, this.vocabulary);
    return this.#grammars;
  }

  /** Format of thoughts before answers; undefined if the template has none. */
  get thinking(): Thinking | undefined {
    return this.template && Thinking.of(this.tokenizer, this.template);
  }

  /** The engine that decodes, compiled when first asked for. @throws LinnetError `RUNTIME` after disposal */
  async engine(): Promise<StepEngine> {
    if (this.#isDisposed) throw new LinnetError('RUNTIME', `${this.origin} has been disposed; open it again`);
    this.#engine ??= this.#parts.engine();
    return await this.#engine;
  }

  /** Runs texts in common steps. Its drafters learn what `learned` holds. @throws LinnetError as `engine` */
  async runner(options: RunnerOptions = {}): Promise<Runner> {
    const tokenizer = this.hasTokenizer ? this.tokenizer : undefined;
    return new Runner(await this.engine(), { tokenizer, ...options, learned: this.learned });
  }

  /**
   * A text to continue piece by piece, to fork, save and load.
   * @param from the text to continue, itself unchanged. Default: an empty text
   * @param options.runner runs its texts among others. Default: each text runs by itself
   */
  session(from?: Snapshot, options: { readonly runner?: Runner } = {}): Session {
    this.#sessionModel ??= {
      decoder: this.decoder,
      tokenizer: this.hasTokenizer ? this.tokenizer : undefined,
      template: this.template,
      defaults: this.defaults,
      grammars: () => this.grammars,
      thinking: this.thinking,
      learned: this.learned,
      sessionFiles: this.#parts.sessionFiles,
      engine: () => this.engine(),
      runner: (options) => this.runner(options),
    };
    return new Session(this.#sessionModel, from, options.runner);
  }

  /**
   * Continues a text, or writes another about it where the model has an encoder and a decoder. BOS and EOS are added where
   * the model has them.
   * @throws LinnetError at once `NOT_FOUND` without a tokenizer and `INPUT` for an option that cannot be; with the first piece as `Session.run`
   */
  generate(prompt: string, options?: TextOptions): TextPieces {
    return this.session().continue(prompt, options);
  }

  /**
   * Log-likelihoods of continuations given a context, in the order of the continuations. Spaces at the end of the context
   * belong to the continuation, since words begin with them; context and continuation are tokenized as one text.
   * @throws LinnetError `INPUT` for an empty continuation
   */
  async score(context: string, continuations: readonly string[]): Promise<ContinuationScore[]> {
    requireText(context, 'the context');
    requireTexts(continuations, 'the continuations');
    const { tokenizer } = this;
    return scoreContinuations({ engine: await this.engine(), tokenizer }, context, continuations);
  }

  /**
   * The model with another mixer instead of its attention; this one is unchanged.
   * @param mixer the name of a preset, or a configuration
   * @throws LinnetError `CONFIG` for an exported model, or a mixer that the model cannot have
   */
  async linearize(mixer: string | MixerConfig, options: LinearizeOptions = {}): Promise<Self> {
    const reason = 'cannot change its mixer; linearize its original checkpoint';
    return await this.have(this.#parts.weights, reason).linearize(mixer, options);
  }

  /** Saves the model as a Hugging Face folder, tokenizer included. @throws LinnetError `CONFIG` for an exported model */
  async save(folder: string, options: SaveModelOptions = {}): Promise<void> {
    const reason = 'is exported and has no weights to save; copy its folder';
    await this.have(this.#parts.weights, reason).save(folder, options);
  }

  /** Whether the model has Medusa heads, valid or not. */
  async hasHeads(): Promise<boolean> {
    return (await this.#parts.heads?.present()) ?? false;
  }

  /**
   * The model's Medusa heads, stored in the same type. Dispose of them.
   * @throws LinnetError `NOT_FOUND` if there are none, `MISMATCH` for heads of another model, `CONFIG` in browsers
   */
  async heads(): Promise<DraftHeads> {
    return await this.have(this.#parts.heads, 'has no Medusa heads here').open();
  }

  /** Whether the model has a layer of multi-token prediction to draft with. */
  get hasMtp(): boolean {
    return this.#parts.mtp !== undefined;
  }

  /** The engine of that layer, for `MtpDrafter`. Dispose of it. @throws LinnetError `CONFIG` for a model without one */
  async mtp(): Promise<StepEngine> {
    return await this.have(this.#parts.mtp, 'has no multi-token prediction layer here')();
  }

  /** Frees the engine's memory. */
  async dispose(): Promise<void> {
    this.#isDisposed = true;
    const engine = await this.#engine?.catch(() => undefined);
    await engine?.dispose();
  }
}

/** A model that predicts the next token of a text. */
export class LanguageModel extends Writer<CausalModel, LanguageModel> {
  /** Whether there is a chat template. */
  get canChat(): boolean {
    return this.template !== undefined;
  }

  /**
   * Answers a conversation, as the chat template of the model says.
   * @throws LinnetError `CONFIG` for a model without a chat template, `INPUT` for anything but messages; later as `Session.run`
   */
  chat(messages: readonly ChatMessage[], options?: TextOptions): TextPieces {
    const given: unknown = messages;
    if (!Array.isArray(given))
      throw new LinnetError('INPUT', 'the messages are no list, expected [{ role, content }, …]');
    for (const [index, message] of given.entries()) {
      requireKind(message, `message ${index}`, ['role'], 'an object with `role` and `content`');
    }
    if (this.template !== undefined) return this.session().continuePrompt({ messages }, options);
    throw new LinnetError('CONFIG', `${this.origin} has no chat template; use generate to continue texts`);
  }
}

/** A model that reads a text and writes another about it. */
export class EncoderDecoder extends Writer<EncoderDecoderModel, EncoderDecoder> {}
