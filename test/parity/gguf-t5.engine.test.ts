/** T5 in GGUF, with the names and the metadata of llama.cpp's conversion: it is the model of the checkpoint. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { float32 as number, string, uint32, writeGguf } from '../../bench/peers/gguf.ts';
import { loadModel } from '../../src/checkpoint/load-model.ts';
import { describeModel } from '../../src/models/families/index.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import { Random } from '../../src/random.ts';
import { tinyConfig } from '../models/tiny-model.ts';
import { scratchFolder } from '../scratch-folder.ts';

/** Parts of names in a checkpoint, and in a file. */
const names: readonly (readonly [RegExp, string])[] = [
  [/^shared\./, 'token_embd.'],
  [/^lm_head\./, 'output.'],
  [/^encoder\.final_layer_norm/, 'enc.output_norm'],
  [/^decoder\.final_layer_norm/, 'dec.output_norm'],
  [/^(enc|dec)oder\.block\./, '$1.blk.'],
  [/layer\.0\.layer_norm/, 'attn_norm'],
  [/layer\.0\.SelfAttention\.relative_attention_bias/, 'attn_rel_b'],
  [/layer\.0\.SelfAttention\./, 'attn_'],
  [/layer\.1\.EncDecAttention\./, 'cross_attn_'],
  [/^(dec.*)layer\.1\.layer_norm/, '$1cross_attn_norm'],
  [/layer\.[12]\.layer_norm/, 'ffn_norm'],
  [/layer\.[12]\.DenseReluDense\.wi_0/, 'ffn_gate'],
  [/layer\.[12]\.DenseReluDense\.wi(_1)?\./, 'ffn_up.'],
  [/layer\.[12]\.DenseReluDense\.wo/, 'ffn_down'],
];

it.each(['relu', 'gated-gelu'])('opens a T5 of %s', async (activation) => {
  const config = { ...tinyConfig('t5'), feed_forward_proj: activation };
  const model = describeModel(config);
  const parameters = initializeParameters(model, new Random(1));
  const file = join(await scratchFolder(), 'model.gguf');
  const field = (name: string): number => Number(Object.entries(config).find(([key]) => key === name)?.[1]);
  const numbers = Object.entries({
    context_length: field('n_positions'),
    embedding_length: field('d_model'),
    feed_forward_length: field('d_ff'),
    block_count: field('num_layers'),
    decoder_block_count: field('num_decoder_layers') || field('num_layers'),
    'attention.head_count': field('num_heads'),
    'attention.key_length': field('d_kv'),
    'attention.value_length': field('d_kv'),
    'attention.relative_buckets_count': field('relative_attention_num_buckets') || 32,
    decoder_start_token_id: 0,
  });
  const metadata = new Map([
    ['general.architecture', string('t5')],
    ...numbers.map(([key, value]) => [`t5.${key}`, uint32(value)] as const),
    ['t5.attention.layer_norm_epsilon', number(1e-6)],
    ['t5.attention.layer_norm_rms_epsilon', number(1e-6)],
  ]);
  const stored = [...parameters].map(([name, { shape, data }]) => ({
    name: names.reduce((text, [part, other]) => text.replace(part, other), name),
    shape,
    data,
  }));
  // The first checkpoints have a table that nothing reads.
  const unread = { ...stored[0], name: 'dec.blk.0.cross_attn_rel_b.weight' };
  const tensors = [...stored, unread].map(({ name, shape, data }) => ({
    name,
    dimensions: shape.toReversed(),
    ggmlType: 0,
    bytes: 4 * data.length,
    data: () => [new Uint8Array(data.buffer, data.byteOffset, 4 * data.length)],
  }));
  await writeGguf(file, metadata, tensors);
  const loaded = await loadModel(file);
  expect(loaded.parameters).toEqual(parameters);
  expect(loaded.model.sizes).toEqual(model.sizes);
});
