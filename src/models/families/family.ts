/** What families have in common: checked configurations under names of ours, and how a causal model is made of its pieces. */
import type { MixerConfig } from '../../attention/mixer.ts';
import type { Value } from '../../graph/graph.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import { causalClassifier } from '../classifiers/causal-classifier.ts';
import { type CausalModel, type ModelSizes, runLayer } from '../model.ts';
import type { JsonObject } from '../../files/json-object.ts';

/** A checked configuration; fields that are not used stay in `raw`. */
export interface FamilyConfig extends ModelSizes {
  /** config.json as it was given. */
  readonly raw: JsonObject;
  /** As of `ModelDescription`. */
  readonly unknownFields: readonly string[];
  readonly feedForwardWidth: number;
  readonly normEpsilon: number;
  /** Whether the head multiplies by the table of tokens. */
  readonly tiedHead: boolean;
  readonly mixers: readonly MixerConfig[];
  readonly bosId?: number;
  readonly eosIds: readonly number[];
}

/** The sizes among the fields of a configuration. */
export function sizesOf(config: ModelSizes): ModelSizes {
  const { layers, width, heads, keyValueHeads, headWidth, vocabulary, trainedLength } = config;
  return { layers, width, heads, keyValueHeads, headWidth, vocabulary, trainedLength };
}

/** The pieces of a causal model: its backbone is the embedding, the layers, the final norm. */
interface CausalPieces extends Omit<CausalModel, 'kind' | 'backbone' | 'asClassifier'> {
  /** Hidden states after the last layer → after the final norm. */
  readonly finalNorm: (source: ParameterSource, hidden: Value) => Value;
  /** The prefix of Hugging Face's classes: "Llama" of LlamaForCausalLM. */
  readonly className: string;
}

export function causalModel({ finalNorm, className, ...pieces }: CausalPieces): CausalModel {
  const model: CausalModel = {
    ...pieces,
    kind: 'causal',
    backbone(source, tokens, positions, mixing) {
      let x = pieces.embed(source, tokens, positions); // [B,T,width]
      for (let layer = 0; layer < pieces.sizes.layers; layer++) {
        source.graph.cutAt(x);
        x = runLayer(mixing, x, (hidden) => pieces.layer(source, layer, hidden, positions, mixing));
      }
      source.graph.cutAt(x);
      return finalNorm(source, x);
    },
    asClassifier: (labels) => causalClassifier(model, className, labels),
  };
  return model;
}
