/** A model small enough for end-to-end tests: random weights, byte tokenizer. */
import { saveModel } from '../src/checkpoint/load-model.ts';
import { describeModel } from '../src/models/families.ts';
import { initializeParameters } from '../src/models/initialize.ts';
import { Random } from '../src/random.ts';
import { tokenizerFileContents } from '../src/tokenizer/byte-level.ts';
import { byteTokenizerFiles } from '../src/tokenizer/bytes.ts';

/** Saves a LLaMA of two layers, two query heads and one key-value head, with softmax attention. */
export async function saveTinyModel(folder: string, seed = 1): Promise<void> {
  const model = describeModel({
    model_type: 'llama',
    vocab_size: 258,
    hidden_size: 16,
    intermediate_size: 32,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    max_position_embeddings: 64,
    tie_word_embeddings: true,
    bos_token_id: 256,
    eos_token_id: 257,
  });
  // A deviation far above that of training, so that predictions differ clearly.
  const parameters = initializeParameters(model, new Random(seed), 0.5);
  await saveModel(folder, { model, parameters }, { tokenizerFiles: tokenizerFileContents(byteTokenizerFiles()) });
}
