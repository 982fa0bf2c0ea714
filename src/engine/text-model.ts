/** A model as the text engine sees it: step engine, tokenizer, chat template, names. Who opens it is not known here. */
import type { StepEngine } from '../decoding/step-engine.ts';
import type { ChatTemplate } from '../tokenizer/chat-template.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { TokenPieces } from './text/token-pieces.ts';

/** Properties of every model that reads or writes texts. */
export interface NamedModel {
  /** What clients call it. */
  readonly name: string;
  /** The `model_type` of its config.json. */
  readonly family: string;
  /** Unix time at which it was opened, in seconds. */
  readonly created: number;
  /** V. */
  readonly vocabulary: number;
  /** Numbers that it has learned. */
  readonly parameterCount: number;
  readonly tokenizer: Tokenizer;
  readonly pieces: TokenPieces;
  /** Undefined where the model folder has none and none was given. */
  readonly template?: ChatTemplate | undefined;
  /** Ties session files to the model. */
  readonly fingerprint: string;
}

/** A model that writes texts: all that the text engine knows of a model. Dispose of it. */
export interface TextModel extends NamedModel, AsyncDisposable {
  readonly engine: StepEngine;
}
