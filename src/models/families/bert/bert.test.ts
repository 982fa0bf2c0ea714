import { describe, expect, it } from 'vitest';
import { parseMixer } from '../../../attention/mixers.ts';
import { tinyConfig } from '../../../../test/models/tiny-model.ts';
import { Graph } from '../../../graph/graph.ts';
import type { EncoderModel } from '../../model.ts';
import { InputParameters } from '../../../nn/parameters.ts';
import { describeModel } from '../index.ts';
import { classifier } from '../../classifiers/classifier.ts';
import { bertModel } from './model.ts';
import { parseBertConfig } from './config.ts';
import { encoderShapeNames, publishedShape } from '../../presets/presets.ts';

const tiny = {
  model_type: 'bert',
  vocab_size: 20,
  max_position_embeddings: 12,
  hidden_size: 8,
  intermediate_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 2,
};

describe('published sizes', () => {
  // The usual figures of 110M and 335M count encoder and pooler.
  it.each([
    ['bert-base', 108_891_648, 622_650, 590_592],
    ['bert-large', 334_092_288, 1_082_170, 1_049_600],
  ])('%s has the published number of parameters', (name, encoder, predictions, pooler) => {
    const total = (fields: Record<string, unknown>): number => {
      let sum = 0;
      for (const { shape } of bertModel({ ...publishedShape(name), ...fields }).parameters.values())
        sum += shape.reduce((a, b) => a * b, 1);
      return sum;
    };
    const width = Number(publishedShape(name).hidden_size);
    expect(total({})).toBe(encoder + predictions);
    expect(total({ architectures: ['BertModel'] })).toBe(encoder);
    expect(total({ architectures: ['BertForSequenceClassification'] })).toBe(encoder + pooler + 2 * width + 2);
    expect(encoderShapeNames).toContain(name);
  });

  it('names the sizes there are', () => {
    expect(() => publishedShape('bert-huge')).toThrow(/bert-huge.*bert-base, bert-large/);
  });
});

describe('config.json', () => {
  it('has the defaults of BERT', () => {
    expect(parseBertConfig({ model_type: 'bert' })).toMatchObject({
      head: 'masked-lm',
      vocabulary: 30522,
      trainedLength: 512,
      segments: 2,
      width: 768,
      feedForwardWidth: 3072,
      layers: 12,
      heads: 12,
      activation: 'gelu',
      normEpsilon: 1e-12,
      tiedHead: true,
      classes: 2,
    });
  });

  it('reads what the published checkpoints say', () => {
    const published = {
      ...publishedShape('bert-base'),
      attention_probs_dropout_prob: 0.1,
      gradient_checkpointing: false,
      hidden_dropout_prob: 0.1,
      initializer_range: 0.02,
      classifier_dropout: null,
      directionality: 'bidi',
      pooler_fc_size: 768,
      pooler_num_attention_heads: 12,
      pooler_num_fc_layers: 3,
      pooler_size_per_head: 128,
      pooler_type: 'first_token_transform',
      position_embedding_type: 'absolute',
      transformers_version: '4.6.0.dev0',
      use_cache: true,
    };
    const model = describeModel(published);
    expect(model).toMatchObject({ family: 'bert', kind: 'encoder', eosIds: [] });
    expect(model.toJson()).toEqual(published);
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ['unknown fields', { rotary_dim: 4 }, /unknown: "rotary_dim" \(positions\): its name .*--ignore rotary_dim/],
    ['heads that do not divide the width', { num_attention_heads: 3 }, /3 does not divide hidden_size 8/],
    ['other activations', { hidden_act: 'swiglu' }, /gelu_new[\s\S]*hidden_act/],
    ['relative positions', { position_embedding_type: 'relative_key' }, /only "absolute" is supported/],
    ['decoders', { is_decoder: true }, /only false is supported: every position reads the whole text/],
    ['cross attention', { add_cross_attention: true }, /only false is supported: there is one text/],
    ['pruned heads', { pruned_heads: { 0: [1] } }, /pruned heads are not supported/],
    ['other heads', { architectures: ['BertForTokenClassification'] }, /BertForTokenClassification.*BertForMaskedLM/],
    ['classes of others', { architectures: ['RobertaForMaskedLM'] }, /RobertaForMaskedLM.*BertForMaskedLM/],
    ['two numbers of classes', { num_labels: 3, id2label: { 0: 'no', 1: 'yes' } }, /is 3, id2label names 2/],
    ['gaps between the classes', { id2label: { 0: 'no', 2: 'yes' } }, /must name the classes 0 to 1, each once/],
    ['as many mixers as layers', { linnet: { version: 1, mixers: [{ kind: 'softmax' }] } }, /names 1 layers.* is 2/],
  ])('refuses or names %s', (_, fields, message) => {
    const parse = (): unknown => parseBertConfig({ ...tiny, ...fields });
    expect(parse).toThrow(message);
    expect(parse).toThrow(expect.objectContaining({ code: 'CONFIG' }));
  });

  it('takes the number of classes from either field', () => {
    const classes = (fields: Record<string, unknown>): number => parseBertConfig({ ...tiny, ...fields }).classes;
    expect(classes({ num_labels: 5 })).toBe(5);
    expect(classes({ id2label: { 0: 'a', 1: 'b', 2: 'c' } })).toBe(3);
  });

  it('names the mixers only where they are not softmax', () => {
    const model = bertModel(tiny);
    const local = parseMixer({ kind: 'linear', group: 4, local: {} });
    const changed = model.withMixers([local, { kind: 'softmax' }]);
    expect(describeModel(changed.toJson()).mixers).toEqual(changed.mixers);
    expect(changed.withMixers(model.mixers).toJson()).toEqual(tiny);
  });

  it('says of a model for pre-training what is left of it', () => {
    const model = bertModel({ ...tiny, architectures: ['BertForPreTraining'] });
    expect(model.toJson()).toEqual({ ...tiny, architectures: ['BertForMaskedLM'] });
  });
});

describe('tensor names', () => {
  it.each([
    ['bert.encoder.layer.3.attention.self.query.weight', 'bert.encoder.layer.3.attention.self.query.weight'],
    ['encoder.layer.3.attention.self.global_factor', 'bert.encoder.layer.3.attention.self.global_factor'],
    ['embeddings.LayerNorm.gamma', 'bert.embeddings.LayerNorm.weight'],
    ['bert.encoder.layer.0.output.LayerNorm.beta', 'bert.encoder.layer.0.output.LayerNorm.bias'],
    ['cls.predictions.transform.LayerNorm.gamma', 'cls.predictions.transform.LayerNorm.weight'],
    ['bert.embeddings.position_ids', undefined],
    ['embeddings.position_ids', undefined],
    ['cls.predictions.decoder.weight', undefined],
    ['cls.predictions.decoder.bias', undefined],
    ['cls.seq_relationship.weight', undefined],
    ['score.weight', 'score.weight'],
    ['model.gamma', 'model.gamma'],
  ])('%s is %s', (stored, expected) => {
    expect(bertModel(tiny).parameterName(stored)).toBe(expected);
  });

  it('keep an untied head', () => {
    const untied = bertModel({ ...tiny, tie_word_embeddings: false });
    expect(untied.parameterName('cls.predictions.decoder.weight')).toBe('cls.predictions.decoder.weight');
    expect(untied.parameters.get('cls.predictions.decoder.weight')?.shape).toEqual([20, 8]);
  });
});

describe('variants', () => {
  const own = (family: string, fields: object = {}): EncoderModel => {
    const model = describeModel({ ...tinyConfig(family), ...fields });
    if (model.kind !== 'encoder') throw new Error(family);
    return model;
  };

  it.each([
    ['roberta', 'encoder.layer.0.output.dense.weight', 'roberta.encoder.layer.0.output.dense.weight'],
    ['roberta', 'roberta.embeddings.position_ids', undefined],
    ['roberta', 'lm_head.decoder.weight', undefined],
    ['roberta', 'lm_head.decoder.bias', undefined],
    ['roberta', 'lm_head.bias', 'lm_head.bias'],
    ['xlm-roberta', 'roberta.pooler.dense.weight', 'roberta.pooler.dense.weight'],
    ['distilbert', 'transformer.layer.0.ffn.lin1.bias', 'distilbert.transformer.layer.0.ffn.lin1.bias'],
    ['distilbert', 'vocab_projector.weight', undefined],
    ['distilbert', 'vocab_projector.bias', 'vocab_projector.bias'],
  ])('%s: %s is %s', (family, stored, expected) => {
    expect(own(family).parameterName(stored)).toBe(expected);
  });

  it('begin positions after the row of padding, and put two SEP between texts, where they are RoBERTa', () => {
    const { sizes, parameters, separators } = own('roberta');
    expect(sizes.trainedLength).toBe(64);
    expect(parameters.get('roberta.embeddings.position_embeddings.weight')?.shape).toEqual([66, 16]);
    expect(separators).toBe(2);
    expect(own('roberta', { pad_token_id: 4 }).sizes.trainedLength).toBe(61);
    expect(() => own('roberta', { pad_token_id: 65 })).toThrow('leaves no position after padding');
    expect(own('distilbert').separators).toBeUndefined();
  });

  it.each(['roberta', 'xlm-roberta', 'distilbert'])('%s keeps a pooler only where it has one', (family) => {
    const optional = own(family).optionalParameters;
    expect(optional?.size).toBe(family === 'distilbert' ? undefined : 2);
    const { model, className } = own(family).asClassifier(['no', 'yes']);
    expect(model.toJson().architectures).toEqual([`${className}ForSequenceClassification`]);
  });

  it.each(['bert', 'distilbert'])('%s opens with a head that finds answers, which is kept', (family) => {
    const className = own(family).asClassifier(['no', 'yes']).className;
    const model = own(family, { architectures: [`${className}ForQuestionAnswering`] });
    expect(model.parameters.get('qa_outputs.weight')?.shape).toEqual([2, 16]);
    const graph = new Graph('head');
    const hidden = graph.input('hidden', 'float32', [1, 3, 16]);
    expect(() => model.head(new InputParameters(graph), hidden)).toThrow('is a finder of answers');
  });
});

describe('classifier', () => {
  it('takes the place of the head, under names that Python reads', () => {
    const model = bertModel({ ...tiny, architectures: ['BertForMaskedLM'], num_labels: 7 });
    const { model: classified, head } = model.asClassifier(['no', 'maybe', 'yes']);
    const classes = ({ parameters }: EncoderModel): number | undefined => parameters.get('classifier.weight')?.shape[0];
    const encoders = [
      model,
      classified,
      classified.kind === 'encoder' && classified.asClassifier(['left', 'right']).model,
    ];
    expect(encoders.map((one) => one && one.kind === 'encoder' && classes(one))).toEqual([undefined, 3, 2]);
    expect(head.size).toBe(4);
    for (const [name, shape] of head) expect(classified.parameters.get(name)).toEqual(shape);
    expect([...classified.parameters.keys()].filter((name) => name.startsWith('cls.'))).toEqual([]);
    expect(classified.toJson()).toMatchObject({
      architectures: ['BertForSequenceClassification'],
      id2label: { 0: 'no', 1: 'maybe', 2: 'yes' },
      label2id: { no: 0, maybe: 1, yes: 2 },
    });
    expect(() => classifier(model, [])).toThrow(expect.objectContaining({ code: 'CONFIG' }));
  });

  it('predicts no tokens', () => {
    const graph = new Graph('head');
    const hidden = graph.input('hidden', 'float32', [1, 3, 8]);
    for (const architecture of ['BertModel', 'BertForSequenceClassification']) {
      const model = bertModel({ ...tiny, architectures: [architecture] });
      expect(() => model.head(new InputParameters(graph), hidden)).toThrow(/architectures name BertForMaskedLM/);
    }
  });

  it('refuses texts longer than the table of positions', () => {
    const graph = new Graph('long');
    const input = { tokens: graph.input('tokens', 'int32', [1, 13]), mask: graph.input('mask', 'float32', [1, 13]) };
    expect(() => bertModel(tiny).encode(new InputParameters(graph), input)).toThrow(/position 12 is beyond/);
  });
});
