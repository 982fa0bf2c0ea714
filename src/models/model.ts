/**
 * What a model is to the rest of the toolkit: its sizes, its mixers, its parameters; and of a causal language model two
 * pieces of graph, written once: the backbone and the head. Training, perplexity and decoding differ only in where parameters
 * come from (`ParameterSource`) and in how layers mix positions (`LayerMixing`).
 */

import type { CrossText, MixerConfig, ProjectedPositions } from '../attention/mixer.ts';
import type { Scoring } from '../attention/scoring.ts';
import type { Value } from '../graph/graph.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { AttentionPart } from './linnet-section.ts';
import type { DeclaredParameters } from '../nn/parameter-roles.ts';
import type { ParameterSource } from '../nn/parameters.ts';
import type { PositionEncoding, PositionValues } from '../nn/positions.ts';

/** Sizes every family has. */
export interface ModelSizes {
  readonly layers: number;
  readonly width: number;
  /** H. */
  readonly heads: number;
  /** M; equal to `heads` without grouped-query attention. */
  readonly keyValueHeads: number;
  /** D: width of queries and keys, and of values unless `valueWidth` says otherwise. */
  readonly headWidth: number;
  /** E: width of values; default D. */
  readonly valueWidth?: number;
  /** Features that every layer is given from the token before; default 0. See `LayerMixing.shift`. */
  readonly shiftWidth?: number;
  /** V. */
  readonly vocabulary: number;
  /** The context length the model was trained for. */
  readonly trainedLength: number;
}

/** The ways in which positions of one layer see each other; everything else in a model is token by token. */
export interface LayerMixing {
  /**
   * Mixes positions: q [B,T,H,D], k [B,T,M,D] and v [B,T,M,E] → [B,T,H,E].
   * @param scoring how scores are made, where the model has a way of its own; default q·k/√D
   */
  readonly mix: (layer: number, positions: ProjectedPositions, scoring?: Scoring) => Value;
  /**
   * Features [B,T,X] of the token before, zeros before the first; X is `ModelSizes.shiftWidth`. At most once per layer.
   */
  readonly shift: (layer: number, features: Value) => Value;
  /** Attention of a decoder to the text that was encoded: q [B,T,H,D] → [B,T,H,E]. Only decoders ask for it. */
  readonly cross?: (layer: number, q: Value) => Value;
}

/** Told what a layer gives to the next: hidden states [B,T,width] before any final norm. */
export type LayerObserver = (layer: number, hidden: Value) => void;

/** A model family's description of one model, made from a config.json. No weights. */
export interface ModelDescription {
  /** The `model_type` of its config.json: "llama", "gpt2". */
  readonly family: string;
  /** What it reads and predicts: the next token, tokens of a text it sees whole, or a second text from a first. */
  readonly kind: 'causal' | 'encoder' | 'encoder-decoder';
  readonly sizes: ModelSizes;
  /** One mixer per attention, in the order of `attentionPrefix`. */
  readonly mixers: readonly MixerConfig[];
  /** All parameters, the mixers' included. Names are those of a Hugging Face checkpoint. */
  readonly parameters: DeclaredParameters;
  /** What a checkpoint may hold for another head (BERT's pooler): kept when the model is changed and saved, else unused. */
  readonly optionalParameters?: DeclaredParameters;
  readonly bosId?: number;
  readonly eosIds: readonly number[];
  /** config.json with the `linnet` section that names the mixers. */
  toJson(): Record<string, unknown>;
  /** The same model with other mixers. */
  withMixers(mixers: readonly MixerConfig[]): ModelDescription;
  /** The prefix of the parameters of attention `index`: "model.layers.0.self_attn". */
  attentionPrefix(index: number): string;
  /**
   * The name in `parameters` of a tensor that checkpoints store as `stored`; undefined for tensors that follow from the
   * configuration (masks, frequency tables, the copy of a tied head). Unknown names are given back as they are.
   */
  readonly parameterName: (stored: string) => string | undefined;
  /** The model as a classifier that tells so many labels apart: see `classifier`. */
  asClassifier(labels: readonly string[]): ClassifierParts;
  /** A parameter of the same model with other mixers, in the shape that this model has for it. Default: as it is. */
  readonly fitParameter?: (name: string, value: Tensor<'float32'>) => Tensor<'float32'>;
}

/** Texts to be classified, padded at the end. */
export interface ClassifiedTexts {
  /** int32 [B,n] of static shape. */
  readonly tokens: Value;
  /** float32 [B,n]: 0 for padding. */
  readonly mask: Value;
  /** int32 [B]: the position of the last token of every text in its row, from 0. */
  readonly last: Value;
  /** int32 [B,n]: which of two texts a token belongs to; read by encoders alone. */
  readonly segments?: Value;
}

/** A model as a classifier (`classifiers/classifier.ts` makes it): its backbone, and what takes the place of the head that predicts tokens. */
export interface ClassifierParts {
  /** The model of the backbone; its parameters that only predict tokens are left out. */
  readonly model: Model;
  /** What Hugging Face calls the class, before "ForSequenceClassification"; what it would be called for a family that is not there. */
  readonly className: string;
  /** The parameters that the backbone does not have. */
  readonly head: DeclaredParameters;
  /** Put before the names of stored parameters of the backbone, where the class holds the whole model under a name. */
  readonly storedPrefix?: string;
  /** Logits [B,classes]. */
  readonly logits: (source: ParameterSource, texts: ClassifiedTexts) => Value;
}

/** E. */
export function valueWidth({ headWidth, valueWidth: E = headWidth }: ModelSizes): number {
  return E;
}

/** What predicts a text token by token: a causal language model, or the decoder of an encoder-decoder model. */
export interface AutoregressiveModel {
  readonly family: string;
  /** Those of the stack of layers that decodes. */
  readonly sizes: ModelSizes;
  /** One mixer per layer. */
  readonly mixers: readonly MixerConfig[];
  /** What a text starts with, where nothing else is given. */
  readonly bosId?: number;
  readonly eosIds: readonly number[];
  /** What the backbone reads about positions. */
  readonly positions: PositionEncoding;
  /** What scores are multiplied by, where a model departs from 1/√D. */
  readonly scoreScale?: number;
  /** What hidden states are multiplied by before the matrix of the head; default 1. */
  readonly headScale?: number;
  /** The farthest distance that a bias of the scores tells apart, in models that have one. */
  readonly biasReach?: number;
  /** Attention to an encoded text; undefined in models that read one text alone. */
  readonly cross?: CrossAttention;
  /** The prefix of the parameters of a layer's attention. */
  attentionPrefix(layer: number): string;
  /**
   * Tokens int32 [B,T] → hidden states after the final norm [B,T,width].
   * @param afterLayer called once per layer, in their order
   */
  backbone(
    source: ParameterSource,
    tokens: Value,
    positions: PositionValues,
    mixing: LayerMixing,
    afterLayer?: LayerObserver,
  ): Value;
  /** Hidden states [..., width] → logits [..., V]. */
  head(source: ParameterSource, hidden: Value): Value;
}

/** The attentions of a decoder to the text that was encoded, one per layer. */
export interface CrossAttention {
  readonly mixers: readonly MixerConfig[];
  attentionPrefix(layer: number): string;
  /** Keys and values [B,m,M,D] of hidden states of the encoder [B,m,width]. */
  project(source: ParameterSource, layer: number, encoded: Value): Pick<CrossText, 'k' | 'v'>;
}

/** A causal language model: one mixer per layer, and every token is predicted from those before it. */
export interface CausalModel extends ModelDescription, AutoregressiveModel {
  readonly family: string;
  readonly kind: 'causal';
  readonly sizes: ModelSizes;
  readonly mixers: readonly MixerConfig[];
  readonly bosId?: number;
  readonly eosIds: readonly number[];
  withMixers(mixers: readonly MixerConfig[]): CausalModel;
  attentionPrefix(layer: number): string;
}

/** A text as an encoder reads it. */
export interface EncoderInput {
  /** int32 [B,n], of static shape. */
  readonly tokens: Value;
  /** float32 [B,n]: 1 for tokens, 0 for padding, which no position reads. */
  readonly mask: Value;
  /** int32 [B,n]: which of two texts a token belongs to, where the model tells them apart. Default: all the first. */
  readonly segments?: Value;
}

/** An encoder: every position sees the whole text, and masked tokens are predicted from both sides. */
export interface EncoderModel extends ModelDescription {
  readonly kind: 'encoder';
  withMixers(mixers: readonly MixerConfig[]): EncoderModel;
  /** Hidden states of the last layer [B,n,width]. */
  encode(source: ParameterSource, input: EncoderInput): Value;
  /** Hidden states [..., width] → logits [..., V]. */
  head(source: ParameterSource, hidden: Value): Value;
}

/** A text that is generated while another, encoded before, is read. */
export interface DecoderInput {
  /** int32 [B,m]: the start token, then the text, padded at the end; the model predicts what follows each. */
  readonly tokens: Value;
  /** [B,n,width]: what `encode` made of the first text. */
  readonly encoded: Value;
  /** float32 [B,n]: the mask of the first text. */
  readonly encodedMask: Value;
}

/** An encoder and a decoder: the first text is read whole, the second predicted token by token. */
export interface EncoderDecoderModel extends ModelDescription {
  readonly kind: 'encoder-decoder';
  /** What the decoder reads first. */
  readonly startId: number;
  /** Fills the unused places of a batch. */
  readonly padId: number;
  /** What each of `mixers` mixes: layers of the encoder, of the decoder, and of the decoder's view of the encoder. */
  readonly attentions: readonly { readonly part: AttentionPart; readonly layer: number }[];
  withMixers(mixers: readonly MixerConfig[]): EncoderDecoderModel;
  /** What generates the second text token by token. */
  readonly decoder: AutoregressiveModel;
  /**
   * Hidden states after the encoder's final norm [B,n,width].
   * @param afterLayer called once per layer, in their order
   */
  encode(source: ParameterSource, input: EncoderInput, afterLayer?: LayerObserver): Value;
  /**
   * Hidden states after the decoder's final norm [B,m,width].
   * @param afterLayer as of `AutoregressiveModel.backbone`
   */
  decode(source: ParameterSource, input: DecoderInput, afterLayer?: LayerObserver): Value;
  /** Hidden states of the decoder [..., width] → logits [..., V]. */
  head(source: ParameterSource, hidden: Value): Value;
}

/** A model that generates text token by token. */
export type GeneratingModel = CausalModel | EncoderDecoderModel;

/** What generates the text of a model: the model itself, or its decoder. */
export function decoderOf(model: GeneratingModel): AutoregressiveModel {
  return model.kind === 'causal' ? model : model.decoder;
}

/** A model of any family, told apart by `kind`. */
export type Model = CausalModel | EncoderModel | EncoderDecoderModel;
