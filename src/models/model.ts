/**
 * The interface of a model: sizes, mixers, parameters; a causal language model adds two pieces of graph, written once:
 * backbone and head. Training, perplexity and decoding differ only in where parameters come from (`ParameterSource`) and
 * how layers mix positions (`LayerMixing`).
 */

import type { CrossText, MixerConfig, ProjectedPositions, Reading } from '../attention/mixer.ts';
import type { Scoring } from '../attention/scoring.ts';
import type { Value } from '../graph/graph.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { AttentionPart } from './config-fields.ts';
import type { DeclaredParameters, ParameterSource } from '../nn/parameters.ts';
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
  /** Features that every layer gets from the previous token; default 0. See `LayerMixing.shift`. */
  readonly shiftWidth?: number;
  /** V. */
  readonly vocabulary: number;
  /** The context length the model was trained for. */
  readonly trainedLength: number;
}

/** How a layer's positions see each other; everything else in a model is token by token. */
export interface LayerMixing {
  /** Default: mixes all rows. */
  readonly rows?: MixedRows;
  /**
   * Mixes positions: q [B,T,H,D], k [B,T,M,D] and v [B,T,M,E] → [B,T,H,E].
   * @param scoring scores queries and keys, if not by the default q·k/√D
   */
  readonly mix: (layer: number, positions: ProjectedPositions, scoring?: Scoring) => Value;
  /** The previous token's features [B,T,X], zeros before the first token; X is `ModelSizes.shiftWidth`. At most once per layer. */
  readonly shift: (layer: number, features: Value) => Value;
  /** Runs a layer on hidden states, for example `recomputed`. Default: the layer itself. */
  readonly run?: (layer: (hidden: Value) => Value, hidden: Value) => Value;
  /** A decoder's attention to the encoded text: q [B,T,H,D] → [B,T,H,E]. Only decoders call it. */
  readonly cross?: (layer: number, q: Value) => Value;
}

/**
 * The rows [B,P,X] of products with parameters, and those that are mixed [B,T,X]: if kernels process rows in pairs, there
 * is one more product row. `mix` takes and returns either.
 */
export interface MixedRows {
  /** [B,P,X] → [B,T,X] */
  readonly enter: (products: Value) => Value;
  /** [B,T,X] → [B,P,X] */
  readonly leave: (mixed: Value) => Value;
}

/** A family's description of one model, made from a config.json. No weights. */
export interface ModelDescription {
  /** Its config.json's `model_type`: "llama", "gpt2". */
  readonly family: string;
  /** The task: predict the next token, tokens of a text read whole, or a second text from a first. */
  readonly kind: ModelKind;
  readonly sizes: ModelSizes;
  /** One mixer per attention, in the order of `attentionPrefix`. */
  readonly mixers: readonly MixerConfig[];
  /** Layers that read a window, next to others that read the whole past: exchanging mixers keeps them unless they are named. */
  readonly localLayers?: readonly number[];
  /** All parameters, including the mixers', by their names in a Hugging Face checkpoint. */
  readonly parameters: DeclaredParameters;
  /** Parameters of other heads in a checkpoint (BERT's pooler): unused, but kept when the model is changed and saved. */
  readonly optionalParameters?: DeclaredParameters;
  readonly bosId?: number;
  readonly eosIds: readonly number[];
  /** Fields of config.json that nothing reads. */
  readonly unknownFields?: readonly string[];
  /** config.json with the `linnet` section that names the mixers. */
  toJson(): Record<string, unknown>;
  /** The same model with other mixers. */
  withMixers(mixers: readonly MixerConfig[]): ModelDescription;
  /** The prefix of attention `index`'s parameters: "model.layers.0.self_attn". */
  attentionPrefix(index: number): string;
  /**
   * The name in `parameters` of a tensor that checkpoints store as `stored`; undefined for tensors that follow from the
   * configuration (masks, frequency tables, a tied head's copy). Unknown names are returned unchanged.
   */
  readonly parameterName: (stored: string) => string | undefined;
  /** The model as a classifier with these labels: see `classifier`. */
  asClassifier(labels: readonly string[]): ClassifierParts;
  /** Reshapes a parameter of the same model with other mixers for this model. Default: unchanged. */
  readonly fitParameter?: (name: string, value: Tensor<'float32'>) => Tensor<'float32'>;
}

/** Texts to classify, padded at the end. */
export interface ClassifiedTexts {
  /** int32 [B,n] of static shape. */
  readonly tokens: Value;
  /** float32 [B,n]: 0 for padding. */
  readonly mask: Value;
  /** int32 [B]: the position of each text's last token in its row, from 0. */
  readonly last: Value;
  /** int32 [B,n]: which of two texts a token belongs to; only encoders read it. */
  readonly segments?: Value;
}

/** A model as a classifier (`classifiers/classifier.ts` makes it): its backbone, and the head that replaces token prediction. */
export interface ClassifierParts {
  /** The backbone's model, without parameters that only predict tokens. */
  readonly model: Model;
  /** The prefix of Hugging Face's class name before "ForSequenceClassification", even for a family without such a class. */
  readonly className: string;
  /** The parameters that the backbone lacks. */
  readonly head: DeclaredParameters;
  /** Prefix of the backbone's stored parameters, if the class holds the whole model under a name. */
  readonly storedPrefix?: string;
  /** Logits [B,classes]. */
  readonly logits: (source: ParameterSource, texts: ClassifiedTexts) => Value;
}

/** The hidden states after a layer. */
export function runLayer({ run }: LayerMixing, hidden: Value, layer: (hidden: Value) => Value): Value {
  return run === undefined ? layer(hidden) : run(layer, hidden);
}

/** E. */
export function valueWidth({ headWidth, valueWidth: E = headWidth }: ModelSizes): number {
  return E;
}

/** A model that predicts a text token by token: a causal language model, or the decoder of an encoder-decoder model. */
export interface AutoregressiveModel {
  readonly family: string;
  /** Sizes of the stack of layers that decodes. */
  readonly sizes: ModelSizes;
  /** One mixer per layer; if layers have two side by side, every layer's first, then every layer's second. */
  readonly mixers: readonly MixerConfig[];
  /** A text's default first token. */
  readonly bosId?: number;
  readonly eosIds: readonly number[];
  /** The position encoding that the backbone reads. */
  readonly positions: PositionEncoding;
  /** Factor on scores, if not 1/√D. */
  readonly scoreScale?: number;
  /** Factor on hidden states before the head's matrix; default 1. */
  readonly headScale?: number;
  /** The farthest distance that the scores' bias distinguishes, if there is one. */
  readonly biasReach?: number;
  /** Attention to an encoded text; undefined if the model reads only one text. */
  readonly cross?: CrossAttention;
  /** The prefix of a layer's attention parameters. */
  attentionPrefix(layer: number): string;
  /**
   * Tokens int32 [B,T] → hidden states after the final norm [B,T,width].
   */
  backbone(source: ParameterSource, tokens: Value, positions: PositionValues, mixing: LayerMixing): Value;
  /** Hidden states [..., width] → logits [..., V]. */
  head(source: ParameterSource, hidden: Value): Value;
}

/** A decoder's attentions to the encoded text, one per layer. */
export interface CrossAttention {
  readonly mixers: readonly MixerConfig[];
  attentionPrefix(layer: number): string;
  /** Keys and values [B,m,M,D] from the encoder's hidden states [B,m,width]. */
  project(source: ParameterSource, layer: number, encoded: Value): Pick<CrossText, 'k' | 'v'>;
}

/**
 * A layer that predicts the token after the next (multi-token prediction, arXiv 2412.19437): it reads a position's hidden
 * state and the token that followed, attends to earlier such pairs, and returns a hidden state for the same head.
 */
export interface MtpLayer {
  /** Its own parameters; token table and head are the model's. */
  readonly parameters: DeclaredParameters;
  /**
   * The layer as a model of one layer over the following tokens [B,T]. @param before the hidden states [B,T,width] of their
   * positions
   */
  model(before: (source: ParameterSource, tokens: Value) => Value): CausalModel;
}

/** A causal language model: one mixer per layer; every token is predicted from earlier ones. */
export interface CausalModel extends ModelDescription, AutoregressiveModel {
  readonly kind: 'causal';
  /** Only in some families; its parameters are among the optional ones. */
  readonly mtp?: MtpLayer;
  withMixers(mixers: readonly MixerConfig[]): CausalModel;
  /** Tokens int32 [B,T] → hidden states before the first layer [B,T,width]. */
  embed(source: ParameterSource, tokens: Value, positions: PositionValues): Value;
  /** One layer of the backbone: hidden states [B,T,width] before it → after it. */
  layer(
    source: ParameterSource,
    layer: number,
    hidden: Value,
    positions: PositionValues,
    mixing: Omit<LayerMixing, 'run' | 'cross'>,
  ): Value;
}

/** A text as an encoder reads it. */
export interface EncoderInput {
  /** int32 [B,n], of static shape. */
  readonly tokens: Value;
  /** float32 [B,n]: 1 for tokens, 0 for padding, which no position reads. */
  readonly mask: Value;
  /** int32 [B,n]: which of two texts a token belongs to, if the model distinguishes them. Default: all belong to the first. */
  readonly segments?: Value;
}

/** An encoder: every position sees the whole text; masked tokens are predicted from both sides. */
export interface EncoderModel extends ModelDescription {
  readonly kind: 'encoder';
  /** SEP tokens between two texts; default 1. */
  readonly separators?: number;
  withMixers(mixers: readonly MixerConfig[]): EncoderModel;
  /** The last layer's hidden states [B,n,width]. */
  encode(source: ParameterSource, input: EncoderInput): Value;
  /** Hidden states [..., width] → logits [..., V]. */
  head(source: ParameterSource, hidden: Value): Value;
}

/** A text generated while reading another, encoded one. */
export interface DecoderInput {
  /** int32 [B,m]: the start token, then the text, padded at the end; the model predicts the token after each. */
  readonly tokens: Value;
  /** [B,n,width]: `encode`'s result for the first text. */
  readonly encoded: Value;
  /** float32 [B,n]: the first text's mask. */
  readonly encodedMask: Value;
}

/** An encoder and a decoder: reads the first text whole, predicts the second token by token. */
export interface EncoderDecoderModel extends ModelDescription {
  readonly kind: 'encoder-decoder';
  /** The decoder's first token. */
  readonly startId: number;
  /** Fills the unused places of a batch. */
  readonly padId: number;
  /** The attention of each of `mixers`: encoder layers, decoder layers, and the decoder's layers over the encoder. */
  readonly attentions: readonly { readonly part: AttentionPart; readonly layer: number }[];
  withMixers(mixers: readonly MixerConfig[]): EncoderDecoderModel;
  /** Generates the second text token by token. */
  readonly decoder: AutoregressiveModel;
  /** Hidden states after the encoder's final norm [B,n,width]. */
  encode(source: ParameterSource, input: EncoderInput): Value;
  /** Hidden states after the decoder's final norm [B,m,width]. */
  decode(source: ParameterSource, input: DecoderInput): Value;
  /** The decoder's hidden states [..., width] → logits [..., V]. */
  head(source: ParameterSource, hidden: Value): Value;
}

/** A model that generates text token by token. */
export type GeneratingModel = CausalModel | EncoderDecoderModel;

/** The models of each kind. */
export interface ModelsByKind {
  readonly causal: CausalModel;
  readonly encoder: EncoderModel;
  readonly 'encoder-decoder': EncoderDecoderModel;
}

/** The name of a kind of model. */
export type ModelKind = keyof ModelsByKind;

/** A model of any family; `kind` tells them apart. */
export type Model = ModelsByKind[ModelKind];

/** The result of the function listed for the model's kind. */
export function byKind<Kind extends ModelKind, Results extends Readonly<Record<Kind, unknown>>>(
  model: ModelsByKind[Kind] & { readonly kind: Kind },
  rows: { readonly [Each in keyof Results]: (model: ModelsByKind[Each & Kind]) => Results[Each] },
): Results[Kind] {
  const { kind }: { readonly kind: Kind } = model;
  return rows[kind](model);
}

/** The model that generates text: the model itself, or its decoder. `cross` tells whether it reads an encoded text. */
export function decoderOf(model: GeneratingModel): AutoregressiveModel {
  return byKind(model, {
    causal: (own) => own,
    'encoder-decoder': ({ decoder }) => decoder,
  });
}

/** Whether each kind of attention reads the past or a whole text. */
export const partReadings: Readonly<Record<AttentionPart, Reading>> = {
  encoder: 'whole',
  decoder: 'past',
  cross: 'whole',
};

/** The attention of each of a model's `mixers`. */
export function modelAttentions(model: Model): EncoderDecoderModel['attentions'] {
  const stack = (part: AttentionPart) => () => model.mixers.map((_, layer) => ({ part, layer }));
  return byKind(model, {
    causal: stack('decoder'),
    encoder: stack('encoder'),
    'encoder-decoder': ({ attentions }) => attentions,
  });
}
