/** How a folder stores its matrices in fewer bits: `quantization_config` in its config.json, or its quantize_config.json. */
import { z } from 'zod';
import { type ErrorCode, LinnetError } from '../../errors.ts';
import { type JsonObject, isJsonObject } from '../../files/json-object.ts';

/** Matrix layouts. */
export const quantizedMethods = ['compressed-tensors', 'fp8', 'gptq', 'awq', 'mlx'] as const;
export type QuantizedMethod = (typeof quantizedMethods)[number];

/** A folder's matrix form by its configuration; tensor shapes tell the rest. */
export interface Quantization {
  readonly method: QuantizedMethod;
  /** Added to stored zero points: 1 in GPTQ's first format. */
  readonly zeroShift: 0 | 1;
  /** Whether a group's inputs may lie apart: `desc_act`. */
  readonly ordered: boolean;
  /** Weights [outputs, inputs] per FP8 scale. */
  readonly block: readonly [number, number] | undefined;
  /** Inputs per MLX scale, by module name. */
  groupOf(module: string): number;
}

const wanted = 'take its GGUF, or the model that it was made from in F32, F16 or BF16';
const count = z
  .int()
  .min(1)
  .max(1 << 20);
const bits = z.union([z.literal(4), z.literal(8)]);
const blockShape = z.tuple([count, count]);

const weights = z.looseObject({
  num_bits: bits,
  type: z.enum(['int', 'float']),
  strategy: z.enum(['group', 'channel', 'tensor', 'block']).nullish(),
  dynamic: z.literal(false).nullish(),
  block_structure: blockShape.nullish(),
});

type Fields = Partial<Omit<Quantization, 'method'>>;

const mlxFields = { group_size: count, bits, mode: z.literal('affine').nullish() };
const mlxModule = z.looseObject(mlxFields).partial();

/** Each method's configuration fields; the schema refuses others. */
const schemas: Readonly<Record<QuantizedMethod, z.ZodType<Fields>>> = {
  'compressed-tensors': z
    .looseObject({
      format: z.enum(['pack-quantized', 'int-quantized', 'naive-quantized', 'float-quantized', 'mixed-precision']),
      quantization_status: z.enum(['compressed', 'frozen']).nullish(),
      config_groups: z.record(z.string(), z.looseObject({ weights })),
      sparsity_config: z.looseObject({ format: z.literal('dense').nullish() }).nullish(),
      transform_config: z.looseObject({ config_groups: z.strictObject({}).nullish() }).nullish(),
    })
    .transform(({ config_groups: groups }) => {
      const blocks = Object.values(groups).flatMap(({ weights: { block_structure: block } }) => (block ? [block] : []));
      return { block: blocks.length === 1 ? blocks[0] : undefined };
    }),
  fp8: z
    .looseObject({ fmt: z.literal('e4m3').nullish(), weight_block_size: blockShape.nullish() })
    .transform(({ weight_block_size: block }) => ({ block: block ?? undefined })),
  gptq: z
    .looseObject({
      bits,
      desc_act: z.boolean().nullish(),
      checkpoint_format: z.enum(['gptq', 'gptq_v2']).nullish(),
    })
    .transform(({ desc_act: ordered, checkpoint_format: format }) => ({
      ordered: ordered === true,
      zeroShift: format === 'gptq_v2' ? 0 : 1,
    })),
  awq: z
    .looseObject({
      bits: z.literal(4).nullish(),
      w_bit: z.literal(4).nullish(),
      version: z
        .string()
        .regex(/^gemm$/i, 'is not the code order "gemm"')
        .nullish(),
    })
    .transform(() => ({})),
  mlx: z.looseObject(mlxFields).transform((config) => ({
    groupOf(module: string): number {
      const own: unknown = config[module];
      return (isJsonObject(own) ? read(mlxModule, own, module).group_size : undefined) ?? config.group_size;
    },
  })),
};

function read<T extends z.ZodType>(schema: T, config: JsonObject, source: string): z.infer<T> {
  const parsed = schema.safeParse(config);
  if (parsed.success) return parsed.data;
  const [{ path, message }] = parsed.error.issues;
  throw quantizationError(source, `quantization_config.${path.join('.')}: ${message}`);
}

/** An error about a folder whose matrices cannot be read. */
export function quantizationError(source: string, what: string, code: ErrorCode = 'CONFIG'): LinnetError {
  return new LinnetError(code, `${source}: ${what.slice(0, 400)}; ${wanted}`);
}

function declaration({ quantization, quantization_config, compression_config }: JsonObject): JsonObject | undefined {
  const block = quantization_config ?? quantization ?? compression_config;
  return isJsonObject(block) ? block : undefined;
}

/** A configuration's method name: MLX's has none, and GPTQ's own file omits it. */
export function quantizedMethod(config: JsonObject): string | undefined {
  const block = declaration(config);
  if (block === undefined) return undefined;
  if (typeof block.quant_method === 'string') return block.quant_method;
  if ('config_groups' in block) return 'compressed-tensors';
  return 'desc_act' in block ? 'gptq' : 'mlx';
}

/**
 * The quantization that a config.json declares; undefined if none.
 * @throws LinnetError `CONFIG` for an unsupported method, bit width or layout
 */
export function quantizationOf(config: JsonObject, source: string): Quantization | undefined {
  const name = quantizedMethod(config);
  if (name === undefined) return undefined;
  const method = quantizedMethods.find((one) => one === name);
  if (method === undefined) {
    throw quantizationError(
      source,
      `matrices quantized by ${name.slice(0, 40)}; known are ${quantizedMethods.join(', ')}`,
    );
  }
  const fields = read(schemas[method], declaration(config) ?? {}, source);
  return { method, zeroShift: 0, ordered: false, block: undefined, groupOf: () => 0, ...fields };
}
