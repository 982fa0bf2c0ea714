/** A LLaMA of a published shape with random weights, as a GGUF file. */
import type { llamaShape } from '../../src/models/presets/presets.ts';
import {
  float32,
  float32s,
  type GgufTensor,
  type GgufValue,
  int32s,
  string,
  strings,
  uint32,
  writeGguf,
} from './gguf.ts';
import { type BlockFormat, type BlockFormatName, blockFormats, RandomBytes, randomMatrix } from './random-blocks.ts';

type Shape = ReturnType<typeof llamaShape>;

/** Writes the model; every matrix, embedding and head included, has the one block format. */
export async function writeLlamaGguf(path: string, name: string, shape: Shape, format: BlockFormatName): Promise<void> {
  await writeGguf(path, metadata(name, shape, format), [...tensors(shape, blockFormats[format])]);
}

/** Numbers of `general.file_type`. */
export const fileTypes: Readonly<Record<BlockFormatName, number>> = { q4_0: 2, q8_0: 7 };

function metadata(name: string, shape: Shape, format: BlockFormatName): Map<string, GgufValue> {
  return new Map<string, GgufValue>([
    ['general.architecture', string('llama')],
    ['general.name', string(`${name}, random weights`)],
    ['general.file_type', uint32(fileTypes[format])],
    ['llama.block_count', uint32(shape.num_hidden_layers)],
    // Contexts longer than this are refused or warned about; what a step costs does not depend on it.
    ['llama.context_length', uint32(131_072)],
    ['llama.embedding_length', uint32(shape.hidden_size)],
    ['llama.feed_forward_length', uint32(shape.intermediate_size)],
    ['llama.attention.head_count', uint32(shape.num_attention_heads)],
    ['llama.attention.head_count_kv', uint32(shape.num_key_value_heads)],
    ['llama.attention.layer_norm_rms_epsilon', float32(shape.rms_norm_eps)],
    ['llama.rope.dimension_count', uint32(shape.hidden_size / shape.num_attention_heads)],
    ['llama.rope.freq_base', float32(shape.rope_theta ?? 10_000)],
    ['llama.vocab_size', uint32(shape.vocab_size)],
    ...tokenizer(shape.vocab_size),
  ]);
}

/** A SentencePiece vocabulary of the right size: three control tokens, the 256 bytes, and names that mean nothing. */
export function tokenizer(vocabulary: number): [string, GgufValue][] {
  const controls = ['<unk>', '<s>', '</s>'];
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const words = Array.from({ length: vocabulary - controls.length - bytes.length }, (_, index) => `▁w${index}`);
  const [unknown, control, byte, normal] = [2, 3, 6, 1]; // ggml's token types
  const types = [unknown, control, control, ...bytes.map(() => byte), ...words.map(() => normal)];
  return [
    ['tokenizer.ggml.model', string('llama')],
    ['tokenizer.ggml.tokens', strings([...controls, ...bytes, ...words])],
    ['tokenizer.ggml.scores', float32s(types.map((type, id) => (type === normal ? -id : 0)))],
    ['tokenizer.ggml.token_type', int32s(types)],
    ['tokenizer.ggml.bos_token_id', uint32(1)],
    ['tokenizer.ggml.eos_token_id', uint32(2)],
    ['tokenizer.ggml.unknown_token_id', uint32(0)],
  ];
}

/** Tensors by name: random matrices in a block format, and float32 ones of one value. */
export function tensorMakers(format: BlockFormat) {
  const random = new RandomBytes(1);
  return {
    matrix: (name: string, rows: number, columns: number): GgufTensor => ({
      name: `${name}.weight`,
      dimensions: [columns, rows],
      ggmlType: format.ggmlType,
      bytes: ((rows * columns) / format.blockValues) * format.blockBytes,
      data: () => randomMatrix(format, rows, columns, random),
    }),
    /** @param dimensions the fastest first */
    constant: (name: string, dimensions: readonly number[], value: number): GgufTensor => {
      const count = dimensions.reduce((product, dimension) => product * dimension, 1);
      return {
        name: `${name}.weight`,
        dimensions,
        ggmlType: 0, // float32
        bytes: 4 * count,
        data: () => [new Uint8Array(new Float32Array(count).fill(value).buffer)],
      };
    },
  };
}

function* tensors(shape: Shape, format: BlockFormat): Generator<GgufTensor> {
  const width = shape.hidden_size;
  const keyValueWidth = (width / shape.num_attention_heads) * shape.num_key_value_heads;
  const { matrix, constant } = tensorMakers(format);
  const norm = (name: string): GgufTensor => constant(name, [width], 1);
  yield matrix('token_embd', shape.vocab_size, width);
  for (let layer = 0; layer < shape.num_hidden_layers; layer++) {
    const block = `blk.${layer}`;
    yield norm(`${block}.attn_norm`);
    yield matrix(`${block}.attn_q`, width, width);
    yield matrix(`${block}.attn_k`, keyValueWidth, width);
    yield matrix(`${block}.attn_v`, keyValueWidth, width);
    yield matrix(`${block}.attn_output`, width, width);
    yield norm(`${block}.ffn_norm`);
    yield matrix(`${block}.ffn_gate`, shape.intermediate_size, width);
    yield matrix(`${block}.ffn_up`, shape.intermediate_size, width);
    yield matrix(`${block}.ffn_down`, width, shape.intermediate_size);
  }
  yield norm('output_norm');
  if (shape.tie_word_embeddings !== true) yield matrix('output', shape.vocab_size, width);
}
