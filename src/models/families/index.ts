/** The table of model families. To add one, write its folder and its line here. */
import { LinnetError } from '../../errors.ts';
import { bertModel } from './bert/model.ts';
import { flashModel } from './flash/model.ts';
import { gpt2Model } from './gpt2/model.ts';
import { llamaModel, mistralModel, qwen2Model, qwen3Model, smolLm3Model } from './decoder/variants.ts';
import { falconH1Model } from './decoder/falcon-h1.ts';
import { graniteHybridModel, graniteModel } from './decoder/granite.ts';
import { gemma3TextModel } from './decoder/gemma3.ts';
import { lfm2Model } from './decoder/lfm2.ts';
import { olmoHybridModel } from './decoder/olmo-hybrid.ts';
import { qwen3NextModel, qwen35Model, qwen35TextModel } from './decoder/qwen35.ts';
import { t5Model } from './t5/model.ts';
import {
  byKind,
  type CausalModel,
  type GeneratingModel,
  type Model,
  type ModelKind,
  type ModelsByKind,
} from '../model.ts';
import { isJsonObject, type JsonObject } from '../../files/json-object.ts';
import { withoutFields } from '../config-fields.ts';
import { containers, textModel } from './container.ts';

export type { Model } from '../model.ts';

/** config.json's `model_type` → the family's description of a model. */
const families: Readonly<Record<string, (json: JsonObject) => Model>> = {
  bert: bertModel,
  distilbert: bertModel,
  falcon_h1: falconH1Model,
  flash: flashModel,
  gemma3_text: gemma3TextModel,
  gpt2: gpt2Model,
  granite: graniteModel,
  granitemoehybrid: graniteHybridModel,
  lfm2: lfm2Model,
  llama: llamaModel,
  mistral: mistralModel,
  olmo_hybrid: olmoHybridModel,
  qwen2: qwen2Model,
  qwen3: qwen3Model,
  qwen3_5: qwen35Model,
  qwen3_5_text: qwen35TextModel,
  qwen3_next: qwen3NextModel,
  roberta: bertModel,
  smollm3: smolLm3Model,
  t5: t5Model,
  'xlm-roberta': bertModel,
};

/** Every `model_type` that can be opened. */
export const supportedFamilies: readonly string[] = Object.keys(families);

/** Fields on weight storage, which changes no computation; written models store floats again. */
const storageFields = ['quantization_config', 'quantization', 'compression_config'];

/** Container types under which bare text models were also written, with a text class and without `text_config`. */
const typesOfText: Readonly<Record<string, string>> = { gemma3: 'gemma3_text', qwen3_5: 'qwen3_5_text' };

/**
 * The model that a config.json describes; for a model that also reads pictures, its text model.
 * @throws LinnetError `CONFIG` for an unknown `model_type` or a configuration the family cannot use
 */
export function describeModel(json: JsonObject): Model {
  if (!isJsonObject(json)) throw new LinnetError('CONFIG', 'config.json is not an object');
  const config = withoutFields(json, storageFields);
  const type = typeOf(config);
  if (Object.hasOwn(families, type)) return families[type]({ ...config, model_type: type });
  if (Object.hasOwn(containers, type)) return textModel(config, containers[type], describeModel);
  const known = `supported: ${supportedFamilies.join(', ')}; the text models of ${Object.keys(containers).join(', ')}`;
  const why = /moe|mixtral/.test(type) ? ' (experts, which Linnet does not compute)' : '';
  const name = type === '' ? 'missing' : `"${type.slice(0, 80)}"${why}`;
  throw new LinnetError('CONFIG', `config.json: model_type is ${name}; ${known}`);
}

/** The family's name, from its class if there is no `model_type`. */
function typeOf({ model_type: type, architectures, text_config: text }: JsonObject): string {
  const own: unknown = Array.isArray(architectures) ? architectures[0] : undefined;
  const plain = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, '');
  const [className, task = ''] = (typeof own === 'string' ? own : '').split(/(?=For[A-Z]|Model$)/);
  if (typeof type === 'string') {
    return text === undefined && task === 'ForCausalLM' && Object.hasOwn(typesOfText, type) ? typesOfText[type] : type;
  }
  return supportedFamilies.find((family) => plain(family) === plain(className)) ?? '';
}

/**
 * The causal language model that a config.json describes.
 * @throws LinnetError `CONFIG` like `describeModel`, and for a model of another kind
 */
export function describeCausalModel(json: JsonObject): CausalModel {
  return requireCausal(describeModel(json));
}

/**
 * @throws LinnetError `CONFIG` for a model that does not predict the next token
 * @example
 * ```ts
 * const { model } = await loadModel('assets/tiny-llama');
 * const causal = requireCausal(model);
 * ```
 */
export function requireCausal(model: Model): CausalModel {
  return requireModelKind(
    model,
    'causal',
    ({ family, kind }) => `this needs a causal language model, such as llama; a ${family} model is of kind "${kind}"`,
  );
}

/** @throws LinnetError `CONFIG` for a model that reads texts and generates none */
export function requireGenerating(model: Model): GeneratingModel {
  const same = <Own>(own: Own): Own => own;
  return byKind(model, {
    causal: same,
    'encoder-decoder': same,
    encoder({ family }) {
      const why = `a ${family} model is an encoder: it reads texts and generates none`;
      throw new LinnetError('CONFIG', `${why}; give a causal language model, or a T5`);
    },
  });
}

/**
 * Narrows a model to one kind.
 * @param why the error's message
 * @throws LinnetError `CONFIG` for a model of another kind
 */
export function requireModelKind<Kind extends ModelKind>(
  model: Model,
  kind: Kind,
  why: (model: Model) => string,
): ModelsByKind[Kind] {
  if (isOfKind(model, kind)) return model;
  throw new LinnetError('CONFIG', why(model));
}

function isOfKind<Kind extends ModelKind>(model: Model, kind: Kind): model is ModelsByKind[Kind] {
  return model.kind === kind;
}
