/** Writes a published shape with random weights as a GGUF file: one table row per llama.cpp architecture. */
import { describeModel } from '../../src/models/index.ts';
import { publishedShape } from '../../src/models/presets/presets.ts';
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
import {
  type BlockFormat,
  type BlockFormatName,
  blockFormats,
  formatOf,
  type MatrixFormats,
  RandomBytes,
  randomMatrix,
} from './random-blocks.ts';

/** Parameter shapes by name, and the fields of config.json. */
interface Described {
  readonly shape: Readonly<Record<string, unknown>>;
  readonly parameters: ReadonlyMap<string, { readonly shape: readonly number[] }>;
  dims(parameter: string): readonly number[];
  field(name: string): number;
}

interface Architecture {
  /** llama.cpp's name. */
  readonly name: string;
  /** Its metadata keys, without the architecture prefix. */
  readonly keys: (described: Described) => Readonly<Record<string, GgufValue>>;
  /** Names of layer parameters and other parameters: whole, or without the suffix after the last dot, which then stays. */
  readonly names: Readonly<Record<string, string>>;
}

const usualNames = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  lm_head: 'output',
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
};

const llama: Architecture = {
  name: 'llama',
  names: usualNames,
  keys: ({ field, dims }) => ({
    // llama.cpp refuses longer contexts or warns about them; the limit does not change a step's cost.
    ...usualKeys({ context: 131_072, width: field('hidden_size'), inner: field('intermediate_size') }),
    'attention.head_count': uint32(field('num_attention_heads')),
    'attention.head_count_kv': uint32(field('num_key_value_heads')),
    'attention.layer_norm_rms_epsilon': float32(field('rms_norm_eps')),
    'rope.dimension_count': uint32(field('hidden_size') / field('num_attention_heads')),
    'rope.freq_base': float32(field('rope_theta') || 10_000),
    vocab_size: uint32(dims('model.embed_tokens.weight')[0]),
  }),
};

const architectures: Readonly<Record<string, Architecture>> = {
  llama,
  qwen2: { ...llama, name: 'qwen2' },
  lfm2: {
    name: 'lfm2',
    names: {
      ...usualNames,
      'model.embedding_norm': 'token_embd_norm',
      operator_norm: 'attn_norm',
      ffn_norm: 'ffn_norm',
      'conv.conv': 'shortconv.conv',
      'conv.in_proj': 'shortconv.in_proj',
      'conv.out_proj': 'shortconv.out_proj',
      'self_attn.out_proj': 'attn_output',
      'self_attn.q_layernorm': 'attn_q_norm',
      'self_attn.k_layernorm': 'attn_k_norm',
      'feed_forward.w1': 'ffn_gate',
      'feed_forward.w3': 'ffn_up',
      'feed_forward.w2': 'ffn_down',
    },
    keys: ({ field, dims, parameters }) => ({
      ...usualKeys({
        ...{ context: 128_000, width: field('hidden_size') },
        inner: dims('model.layers.0.feed_forward.w1.weight')[0],
      }),
      'attention.head_count': uint32(field('num_attention_heads')),
      // 0 for a short convolution.
      'attention.head_count_kv': int32s(
        Array.from({ length: field('num_hidden_layers') }, (_, layer) =>
          parameters.has(`model.layers.${layer}.self_attn.q_proj.weight`) ? field('num_key_value_heads') : 0,
        ),
      ),
      'attention.layer_norm_rms_epsilon': float32(field('norm_eps')),
      'rope.freq_base': float32(field('rope_theta')),
      'shortconv.l_cache': uint32(field('conv_L_cache')),
      vocab_size: uint32(field('vocab_size')),
    }),
  },
  qwen3_5_text: {
    name: 'qwen35',
    names: {
      ...usualNames,
      post_attention_layernorm: 'post_attention_norm',
      'self_attn.q_norm': 'attn_q_norm',
      'self_attn.k_norm': 'attn_k_norm',
      'linear_attn.in_proj_qkv': 'attn_qkv',
      'linear_attn.in_proj_z': 'attn_gate',
      'linear_attn.in_proj_a': 'ssm_alpha',
      'linear_attn.in_proj_b': 'ssm_beta',
      'linear_attn.conv1d': 'ssm_conv1d',
      'linear_attn.norm': 'ssm_norm',
      'linear_attn.out_proj': 'ssm_out',
      'linear_attn.A_log': 'ssm_a',
      'linear_attn.dt_bias': 'ssm_dt.bias',
    },
    keys: ({ field, dims }) => {
      const [values, headWidth] = ['out_proj.weight', 'norm.weight'].map((name) =>
        Number(dims(`model.layers.0.linear_attn.${name}`).at(-1)),
      );
      return {
        ...usualKeys({ context: 262_144, width: field('hidden_size'), inner: field('intermediate_size') }),
        'attention.head_count': uint32(field('num_attention_heads')),
        'attention.head_count_kv': uint32(field('num_key_value_heads')),
        'attention.key_length': uint32(field('head_dim')),
        'attention.value_length': uint32(field('head_dim')),
        'attention.layer_norm_rms_epsilon': float32(1e-6),
        'rope.dimension_count': uint32(field('head_dim') / 4),
        'rope.dimension_sections': int32s([11, 11, 10, 0]),
        'rope.freq_base': float32(10_000_000),
        'ssm.conv_kernel': uint32(Number(dims('model.layers.0.linear_attn.conv1d.weight').at(-1))),
        'ssm.inner_size': uint32(values),
        'ssm.state_size': uint32(headWidth),
        'ssm.time_step_rank': uint32(field('linear_num_value_heads')),
        'ssm.group_count': uint32(field('linear_num_key_heads')),
        full_attention_interval: uint32(field('full_attention_interval')),
      };
    },
  },
};

function usualKeys({ context, width, inner }: Record<'context' | 'width' | 'inner', number>) {
  return {
    context_length: uint32(context),
    embedding_length: uint32(width),
    feed_forward_length: uint32(inner),
  };
}

/** `general.file_type` numbers. */
const fileTypes: Readonly<Record<BlockFormatName, number>> = { q4_0: 2, q8_0: 7, q4_k: 15, q4_k_m: 15 };

/** Writes the model; matrices, including embedding and head, use the block formats, everything else float32. */
export async function writeModelGguf(path: string, name: string, format: BlockFormatName): Promise<void> {
  const described = describe(name);
  const architecture = architectures[String(described.shape.model_type)];
  if (architecture === undefined) throw new Error(`${name} is not written for llama.cpp`);
  const [vocabulary] = described.dims('model.embed_tokens.weight');
  const own = { block_count: uint32(described.field('num_hidden_layers')), ...architecture.keys(described) };
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', string(architecture.name)],
    ['general.name', string(`${name}, random weights`)],
    ['general.file_type', uint32(fileTypes[format])],
    ...Object.entries(own).map(([key, value]): [string, GgufValue] => [`${architecture.name}.${key}`, value]),
    ...tokenizer(vocabulary),
  ]);
  await writeGguf(path, metadata, [...tensors(described, architecture, blockFormats[format])]);
}

function describe(name: string): Described {
  const shape = publishedShape(name);
  const { parameters } = describeModel(shape);
  return {
    ...{ shape, parameters },
    field: (field) => Number(shape[field] ?? 0),
    dims(parameter) {
      const found = parameters.get(parameter);
      if (found === undefined) throw new Error(`${name} has no ${parameter}`);
      return found.shape;
    },
  };
}

/** A SentencePiece vocabulary of the given size: three control tokens, the 256 bytes, and meaningless names. */
function tokenizer(vocabulary: number): [string, GgufValue][] {
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

function* tensors(
  { parameters, field }: Described,
  { names }: Architecture,
  formats: MatrixFormats,
): Generator<GgufTensor> {
  const random = new RandomBytes(1);
  for (const [parameter, { shape }] of parameters) {
    const [, layer, own] = /^model\.layers\.(\d+)\.(.*)$/.exec(parameter) ?? [];
    const prefix = layer === undefined ? '' : `blk.${layer}.`;
    const path = own ?? parameter;
    const dot = path.lastIndexOf('.');
    const known = names[path] ?? names[path.slice(0, dot)];
    if (known === undefined) throw new Error(`no llama.cpp name for ${parameter}`);
    const name = `${prefix}${known}${Object.hasOwn(names, path) ? '' : path.slice(dot)}`;
    if (shape.length === 2) {
      yield matrix(name, shape, formatOf(formats, name, field('num_hidden_layers')), random);
      continue;
    }
    // Filters [channels,1,L] are means; a recurrence's decay is stored as −exp(A).
    const value = shape.length === 3 ? 1 / shape[2] : known === 'ssm_a' ? -1 : 1;
    yield constant(name, shape.length === 3 ? [shape[2], shape[0]] : shape, value);
  }
}

function matrix(
  name: string,
  [rows, columns]: readonly number[],
  format: BlockFormat,
  random: RandomBytes,
): GgufTensor {
  return {
    ...{ name, dimensions: [columns, rows], ggmlType: format.ggmlType },
    bytes: ((rows * columns) / format.blockValues) * format.blockBytes,
    data: () => randomMatrix(format, rows, columns, random),
  };
}

/** A float32 tensor filled with one value. @param dimensions fastest first */
function constant(name: string, dimensions: readonly number[], value: number): GgufTensor {
  const count = dimensions.reduce((product, dimension) => product * dimension, 1);
  return {
    ...{ name, dimensions, ggmlType: 0, bytes: 4 * count },
    data: () => [new Uint8Array(new Float32Array(count).fill(value).buffer)],
  };
}
