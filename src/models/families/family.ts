/** Families' common parts: checked configurations under our names, and causal models assembled from pieces. */
import type { MixerConfig } from '../../attention/mixer.ts';
import type { Value } from '../../graph/graph.ts';
import type { ParameterSource } from '../../nn/parameters.ts';
import { causalClassifier } from '../classifiers/causal-classifier.ts';
import { type CausalModel, type ModelSizes, runLayer } from '../model.ts';
import type { JsonObject } from '../../files/json-object.ts';

/** A checked configuration; unused fields stay in `raw`. */
export interface FamilyConfig extends ModelSizes {
  /** config.json as given. */
  readonly raw: JsonObject;
  /** See `ModelDescription`. */
  readonly unknownFields: readonly string[];
  readonly feedForwardWidth: number;
  readonly normEpsilon: number;
  /** Whether the head multiplies by the token table. */
  readonly tiedHead: boolean;
  readonly mixers: readonly MixerConfig[];
  readonly bosId?: number;
  readonly eosIds: readonly number[];
}

/** The sizes among a configuration's fields. */
export function sizesOf(config: ModelSizes): ModelSizes {
  const { layers, width, heads, keyValueHeads, headWidth, vocabulary, trainedLength } = config;
  return { layers, width, heads, keyValueHeads, headWidth, vocabulary, trainedLength };
}

/** The pieces of a causal model: its backbone is embedding, layers and final norm. */
interface CausalPieces extends Omit<CausalModel, 'kind' | 'backbone' | 'asClassifier'> {
  /** Hidden states after the last layer → after the final norm. */
  readonly finalNorm: (source: ParameterSource, hidden: Value) => Value;
  /** The prefix of Hugging Face's classes: "Llama" in LlamaForCausalLM. */
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
