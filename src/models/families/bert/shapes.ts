/** The published sizes of BERT, as config.json for `describeModel` and pre-training. */
import { namedShape } from '../../presets/named-shapes.ts';

const shapes = {
  'bert-base': { num_hidden_layers: 12, hidden_size: 768, num_attention_heads: 12, intermediate_size: 3072 },
  'bert-large': { num_hidden_layers: 24, hidden_size: 1024, num_attention_heads: 16, intermediate_size: 4096 },
};

/** The names that `bertShape` knows: 110M and 335M parameters. */
export const bertShapeNames: readonly string[] = Object.keys(shapes);

/** The config.json of a published size, with the uncased vocabulary. @throws LinnetError `CONFIG` for an unknown name */
export function bertShape(name: string): Record<string, unknown> {
  return {
    model_type: 'bert',
    architectures: ['BertForMaskedLM'],
    vocab_size: 30522,
    ...namedShape('BERT', shapes, name),
    hidden_act: 'gelu',
    max_position_embeddings: 512,
    type_vocab_size: 2,
    layer_norm_eps: 1e-12,
    pad_token_id: 0,
  };
}
