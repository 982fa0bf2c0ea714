/** An LFM2 of a published shape with random weights, as a GGUF file: llama.cpp's architecture `lfm2`. */
import { describeModel } from '../../src/models/index.ts';
import { lfm2Shape } from '../../src/models/presets/presets.ts';
import { float32, type GgufTensor, type GgufValue, int32s, string, uint32, writeGguf } from './gguf.ts';
import { fileTypes, tensorMakers, tokenizer } from './llama-gguf.ts';
import { type BlockFormat, type BlockFormatName, blockFormats } from './random-blocks.ts';

interface Sizes {
  readonly layers: number;
  readonly width: number;
  readonly inner: number;
  readonly vocabulary: number;
  readonly heads: number;
  readonly kernel: number;
  /** Key-value heads of each layer, 0 for a short convolution. */
  readonly keyValueHeads: readonly number[];
}

function sizesOf(name: string): Sizes {
  const shape = lfm2Shape(name);
  const { parameters } = describeModel(shape);
  const dims = (parameter: string): readonly number[] => {
    const found = parameters.get(parameter);
    if (found === undefined) throw new Error(`${name} has no ${parameter}`);
    return found.shape;
  };
  const [vocabulary, width] = dims('model.embed_tokens.weight');
  const layers = Number(shape.num_hidden_layers);
  const keyValueHeads = Array.from({ length: layers }, (_, layer) =>
    parameters.has(`model.layers.${layer}.self_attn.q_proj.weight`) ? Number(shape.num_key_value_heads) : 0,
  );
  return {
    ...{ layers, width, vocabulary, keyValueHeads, heads: Number(shape.num_attention_heads) },
    ...{ kernel: Number(shape.conv_L_cache), inner: dims('model.layers.0.feed_forward.w1.weight')[0] },
  };
}

/** Writes the model; every matrix, embedding and head included, has the one block format, filters are float32. */
export async function writeLfm2Gguf(path: string, name: string, format: BlockFormatName): Promise<void> {
  const sizes = sizesOf(name);
  await writeGguf(path, metadata(name, sizes, format), [...tensors(sizes, blockFormats[format])]);
}

function metadata(name: string, sizes: Sizes, format: BlockFormatName): Map<string, GgufValue> {
  return new Map<string, GgufValue>([
    ['general.architecture', string('lfm2')],
    ['general.name', string(`${name}, random weights`)],
    ['general.file_type', uint32(fileTypes[format])],
    ['lfm2.block_count', uint32(sizes.layers)],
    ['lfm2.context_length', uint32(128_000)],
    ['lfm2.embedding_length', uint32(sizes.width)],
    ['lfm2.feed_forward_length', uint32(sizes.inner)],
    ['lfm2.attention.head_count', uint32(sizes.heads)],
    ['lfm2.attention.head_count_kv', int32s(sizes.keyValueHeads)],
    ['lfm2.attention.layer_norm_rms_epsilon', float32(1e-5)],
    ['lfm2.rope.freq_base', float32(1_000_000)],
    ['lfm2.shortconv.l_cache', uint32(sizes.kernel)],
    ['lfm2.vocab_size', uint32(sizes.vocabulary)],
    ...tokenizer(sizes.vocabulary),
  ]);
}

function* tensors(sizes: Sizes, format: BlockFormat): Generator<GgufTensor> {
  const { width, inner, heads, kernel } = sizes;
  const headWidth = width / heads;
  const { matrix, constant } = tensorMakers(format);
  yield matrix('token_embd', sizes.vocabulary, width);
  for (const [layer, keyValueHeads] of sizes.keyValueHeads.entries()) {
    const block = `blk.${layer}`;
    yield constant(`${block}.attn_norm`, [width], 1);
    if (keyValueHeads === 0) {
      yield constant(`${block}.shortconv.conv`, [kernel, width], 1 / kernel);
      yield matrix(`${block}.shortconv.in_proj`, 3 * width, width);
      yield matrix(`${block}.shortconv.out_proj`, width, width);
    } else {
      yield matrix(`${block}.attn_q`, width, width);
      yield matrix(`${block}.attn_k`, keyValueHeads * headWidth, width);
      yield matrix(`${block}.attn_v`, keyValueHeads * headWidth, width);
      yield matrix(`${block}.attn_output`, width, width);
      yield constant(`${block}.attn_q_norm`, [headWidth], 1);
      yield constant(`${block}.attn_k_norm`, [headWidth], 1);
    }
    yield constant(`${block}.ffn_norm`, [width], 1);
    yield matrix(`${block}.ffn_gate`, inner, width);
    yield matrix(`${block}.ffn_up`, inner, width);
    yield matrix(`${block}.ffn_down`, width, inner);
  }
  yield constant('token_embd_norm', [width], 1);
}
