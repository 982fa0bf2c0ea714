/** What both libraries, for Node and for browsers, export of opened models: the same names for the same things. */
export type { ContinuationScore } from '../engine/scoring/engine-scorer.ts';
export type { ChatMessage } from '../tokenizer/chat-template.ts';
export type { LinearizeOptions } from '../models/linearization/linearize.ts';
export type { EncodeOptions, Tokenizer } from '../tokenizer/tokenizer.ts';
export type { EncoderDecoder, LanguageModel } from './language-model.ts';
export type { OpenedKind, OpenedModel, SaveModelOptions } from './opened-model.ts';
export type { Classification } from './text-reader.ts';
export type { Classifier, Encoder } from './readers.ts';
export type { Session, TextPieces } from '../engine/session.ts';
export type { TextOptions } from '../engine/text-options.ts';
