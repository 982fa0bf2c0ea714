/**
 * linnet.json: an exported folder's contents, and how it can store its model: with one set of weights, or one for each of two
 * purposes. Also runs in browsers.
 */
import { z } from 'zod';
import { medusaTreeSchema } from '../checkpoint/medusa-trees.ts';
import { LinnetError } from '../errors.ts';
import { whole } from '../files/schema-values.ts';
import { validated } from '../files/schema-problems.ts';
import { type BlockSize, blockSizes } from '../graph/ops/quantized.ts';
import type { Device } from '../graph/onnx/model.ts';
import { type StepForms, stepFormsOf } from '../models/graphs/step-forms.ts';
import { medusaLimits } from '../models/medusa/medusa.ts';
import { type WeightType, weightTypes } from '../quantization/sources.ts';

/** Type names for `--dtype` and in linnet.json. */
export const storageTypeNames = [...weightTypes, 'mixed'] as const;
/** How an export stores matrices. */
export type StorageType = (typeof storageTypeNames)[number];

/** Storage types of a folder's graphs. */
export interface GraphTypes {
  /** The step graph, which decodes single tokens and trees; also Medusa heads. */
  readonly step: WeightType;
  /** The prompt graph: the same model again, for reading prompts. Without one, the step graph reads them. */
  readonly prompt?: WeightType;
}

/**
 * `mixed` uses the faster type for each purpose: a single token waits for the weights, and int4 has the fewest bytes; chunks
 * of a prompt wait for the products, and w8a8's are the fastest.
 */
export const storageTypes: Readonly<Record<StorageType, GraphTypes>> = {
  f32: { step: 'f32' },
  f16: { step: 'f16' },
  w8a8: { step: 'w8a8' },
  int4: { step: 'int4' },
  mixed: { step: 'int4', prompt: 'w8a8' },
};

/** Whether one of the folder's graphs has blocks of weights, whose size can be chosen. */
export function hasBlocks(type: StorageType): boolean {
  const { step, prompt } = storageTypes[type];
  return step === 'int4' || prompt === 'int4';
}

export const manifestVersion = 1;

/**
 * The step graph, the model's configuration and, in folders that have them, the graphs for prompts, heads and multi-token
 * prediction. Encoders: `encoderFileOf`.
 */
export const exportedFiles = {
  model: 'model.onnx',
  config: 'config.json',
  prompt: 'prompt.onnx',
  medusa: 'medusa.onnx',
  mtp: 'mtp.onnx',
} as const;

/** An encoder-decoder model's encoder for texts of one length. */
export function encoderFileOf(length: number): string {
  return `encoder-${length}.onnx`;
}

/**
 * The file that holds a graph's external weights: encoders of all lengths share one, and multi-token prediction uses the
 * model's.
 */
export function dataFileOf(graphFile: string): string {
  const shared = graphFile === exportedFiles.mtp ? exportedFiles.model : graphFile;
  return `${shared.replace(/^encoder-\d+\.onnx$/, 'encoder.onnx')}.data`;
}

/** Bounds on encoders' lengths and their number. */
export const encoderLimits = { length: 1 << 20, count: 64 } as const;

/** Largest linnet.json read: far more than any model needs. */
export const maximumManifestBytes = 16 << 20;

/** Plain names, so that no file in another folder can be meant, on any system. */
const fileName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/);
const byteCount = whole();
const notNegative = z.number().min(0);
/** True, or absent for no. */
const setOrAbsent = z.literal(true).optional();

/** Largest error relative to the largest weight, and RMS error relative to the RMS weight. */
const weightErrorSchema = z.strictObject({ max: notNegative, rms: notNegative });

/** Errors caused by the storage type. Drops further fields of earlier versions. */
export const errorReportSchema = z.object({
  /** By matrix, in model order; empty for f32. */
  weights: z.record(z.string().regex(/^[A-Za-z0-9][\w.]{0,255}$/), weightErrorSchema),
});

/** A separate set of weights for prompts. */
const promptSchema = z.strictObject({
  /** Bytes of all the prompt graph's weights, as stored. */
  weightBytes: byteCount,
});

/** An encoder-decoder model's encoder. */
const encoderSchema = z.strictObject({
  /** Lengths that texts are padded to, rising; each has a graph, see `encoderFileOf`. */
  lengths: z
    .array(whole(1, encoderLimits.length))
    .min(1)
    .max(encoderLimits.count)
    .refine((lengths) => lengths.every((length, i) => i === 0 || length > lengths[i - 1]), 'lengths must rise'),
  /** Bytes of all weights of the encoder and of the parts that read its hidden states, as stored. */
  weightBytes: byteCount,
});

/** Medusa heads exported with the model. */
const medusaSchema = z.strictObject({
  heads: whole(1, medusaLimits.heads),
  layers: whole(1, medusaLimits.layers),
  /** Bytes of their weights, as stored. */
  weightBytes: byteCount,
  /** The candidate tree found for the model before its export. */
  tree: medusaTreeSchema.optional(),
});

/** A multi-token prediction layer exported with the model. */
const mtpSchema = z.strictObject({
  /** Bytes of the weights its graph reads, as stored: its own, and the model's table and head. */
  weightBytes: byteCount,
});

/** The forms of a folder's graphs. */
export function formsOfManifest({
  openRows,
  withinFolds,
  ...forms
}: Pick<ExportManifest, 'openRows' | 'replays' | 'productRows' | 'ordered' | 'withinFolds' | 'columns'>): StepForms {
  const absent = { replays: false, productRows: false, ordered: false, columns: false };
  return { ...absent, ...forms, opens: openRows === true, crossesFolds: withinFolds !== true };
}

/** The forms of an export's graphs: kernels take rows of blocks larger than the smallest in pairs. */
export function formsOfExport({ device, block = smallestBlock }: ExportedAs): StepForms {
  return stepFormsOf(device, block > smallestBlock);
}

interface ExportedAs {
  readonly device: Device;
  /** Absent for types without blocks. */
  readonly block?: BlockSize;
}

const [smallestBlock] = blockSizes;

/** Errors from storing the weights in fewer bits, as an export reports them. */
export type ErrorReport = z.infer<typeof errorReportSchema>;

export const manifestSchema = z.strictObject({
  format: z.literal('linnet-export'),
  version: z.literal(manifestVersion),
  /** How matrices are stored; `storageTypes` tells which graph has which weights. */
  dtype: z.enum(storageTypeNames),
  /** Most weights per int4 scale. */
  block: z.literal(blockSizes).optional(),
  /** The graph's target device. `cpu` graphs also run as `wasm`. */
  device: z.enum(['cpu', 'webgpu']),
  /** Whether the step graph reads open rows, so that tokens have the same bits in every tree and batch; absent: no. */
  openRows: setOrAbsent,
  /** Whether it replays rows with the runtime's recurrence operators, in layers that can; absent: no. */
  replays: setOrAbsent,
  /** Whether it counts product rows apart from mixed nodes; absent: no. */
  productRows: setOrAbsent,
  /** See `StepForms.ordered`. */
  ordered: setOrAbsent,
  /** Whether its graphs do not cross folds (`StepForms.crossesFolds`). */
  withinFolds: setOrAbsent,
  /** See `StepForms.columns`. */
  columns: setOrAbsent,
  /** Every other file in the folder. */
  files: z.record(fileName, z.strictObject({ bytes: byteCount, sha256: z.string().regex(/^[0-9a-f]{64}$/) })),
  /** Fold graphs' files, by the model's layer names for them; empty without sums. */
  folds: z.record(
    z
      .string()
      .min(1)
      .max(1024)
      .refine((name) => name !== '__proto__'),
    fileName,
  ),
  /** Only for types with a prompt graph; never for encoder-decoder models, whose encoder reads prompts. */
  prompt: promptSchema.optional(),
  /** Only for encoder-decoder models; the step graph is their decoder. */
  encoder: encoderSchema.optional(),
  /** Absent if the model had no Medusa heads. */
  medusa: medusaSchema.optional(),
  /** The multi-token prediction layer; absent if the model had none. */
  mtp: mtpSchema.optional(),
  /** Bytes of all the step graph's weights, as stored. */
  weightBytes: byteCount,
  /** The Linnet version that wrote the folder. */
  producer: z.string().max(100),
  report: errorReportSchema,
});

/** A checked linnet.json. */
export type ExportManifest = z.infer<typeof manifestSchema>;

/**
 * Checks a parsed linnet.json: its form, and that it names the files every model needs.
 * @param source its name in errors
 * @throws LinnetError `FORMAT`
 * @example
 * ```ts
 * const { dtype, files } = parseManifest(value, 'linnet.json');
 * ```
 */
export function parseManifest(value: unknown, source: string): ExportManifest {
  const result = validated(manifestSchema, value, 'FORMAT', `${source} does not describe an export`);
  const { dtype, encoder, files, folds, medusa, mtp, prompt } = result;
  if ((prompt === undefined) !== (encoder !== undefined || storageTypes[dtype].prompt === undefined)) {
    const found = prompt === undefined ? 'without its prompt graph' : 'with a prompt graph, which it does not have';
    throw new LinnetError('FORMAT', `${source} describes an export as ${dtype} ${found}`);
  }
  const needed = [exportedFiles.model, exportedFiles.config, ...Object.values(folds)];
  if (prompt !== undefined) needed.push(exportedFiles.prompt);
  if (encoder !== undefined) needed.push(...encoder.lengths.map(encoderFileOf));
  if (medusa !== undefined) needed.push(exportedFiles.medusa);
  if (mtp !== undefined) needed.push(exportedFiles.mtp);
  for (const name of needed) {
    if (!Object.hasOwn(files, name)) throw new LinnetError('FORMAT', `${source} does not list the file ${name}`);
  }
  return result;
}

/** Further devices that run a device's graphs unchanged. */
const runsAlsoOn: Readonly<Record<ExportManifest['device'], readonly string[]>> = {
  cpu: ['wasm', 'cuda'],
  webgpu: [],
};

/**
 * The device to run on: the requested one, or the export's own.
 * @throws LinnetError `MISMATCH` for a device that the export was not made for
 */
export function chosenDevice<D extends string>(
  { device }: ExportManifest,
  asked: D | undefined,
  source: string,
): D | ExportManifest['device'] {
  if (asked === undefined || asked === device || runsAlsoOn[device].includes(asked)) return asked ?? device;
  throw new LinnetError(
    'MISMATCH',
    `${source} was exported for ${device}, not for ${asked}; export it again with --device ${asked}`,
  );
}
