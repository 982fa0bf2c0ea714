/**
 * linnet.json: contents of an exported folder, and how it can store its model: with one set of weights, or with one for each
 * of two purposes. Runs in browsers too.
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

/** Names of the types for `--dtype` and in linnet.json. */
export const storageTypeNames = [...weightTypes, 'mixed'] as const;
/** How an export stores matrices. */
export type StorageType = (typeof storageTypeNames)[number];

/** Storage types of the graphs of a folder. */
export interface GraphTypes {
  /** The step graph, which decodes: single tokens and trees; Medusa heads too. */
  readonly step: WeightType;
  /** The prompt graph: the same model once more, which reads prompts. Without one, the step graph reads them. */
  readonly prompt?: WeightType;
}

/**
 * `mixed` takes for each purpose the type that is faster at it: a single token waits for the weights, of which int4 has
 * the fewest bytes, and chunks of a prompt wait for the products, of which those of w8a8 are the fastest.
 */
export const storageTypes: Readonly<Record<StorageType, GraphTypes>> = {
  f32: { step: 'f32' },
  f16: { step: 'f16' },
  w8a8: { step: 'w8a8' },
  int4: { step: 'int4' },
  mixed: { step: 'int4', prompt: 'w8a8' },
};

/** Whether a graph of the folder has blocks of weights, whose size can be chosen. */
export function hasBlocks(type: StorageType): boolean {
  const { step, prompt } = storageTypes[type];
  return step === 'int4' || prompt === 'int4';
}

export const manifestVersion = 1;

/** The step graph, the model's configuration, and of folders that have them the graphs of prompts, heads and multi-token prediction. Encoders: `encoderFileOf`. */
export const exportedFiles = {
  model: 'model.onnx',
  config: 'config.json',
  prompt: 'prompt.onnx',
  medusa: 'medusa.onnx',
  mtp: 'mtp.onnx',
} as const;

/** The encoder of an encoder-decoder model over texts of a length. */
export function encoderFileOf(length: number): string {
  return `encoder-${length}.onnx`;
}

/** Where the weights of a graph lie that are not in its own file: the encoders of all lengths share theirs, and multi-token prediction the file of the model. */
export function dataFileOf(graphFile: string): string {
  const shared = graphFile === exportedFiles.mtp ? exportedFiles.model : graphFile;
  return `${shared.replace(/^encoder-\d+\.onnx$/, 'encoder.onnx')}.data`;
}

/** Bounds of the lengths that encoders are exported for, and of their number. */
export const encoderLimits = { length: 1 << 20, count: 64 } as const;

/** Largest linnet.json that is read: far more than any model's. */
export const maximumManifestBytes = 16 << 20;

/** Plain names, so that no file of another folder can be meant, on any system. */
const fileName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/);
const byteCount = whole();
const notNegative = z.number().min(0);

/** Largest error relative to the largest weight, and RMS of the errors relative to the RMS of the weights. */
const weightErrorSchema = z.strictObject({ max: notNegative, rms: notNegative });

/** Errors caused by the storage type. Exports of earlier versions say more, which is left out. */
export const errorReportSchema = z.object({
  /** By matrix, in the order of the model; empty for f32. */
  weights: z.record(z.string().regex(/^[A-Za-z0-9][\w.]{0,255}$/), weightErrorSchema),
});

/** Weights of their own for prompts. */
const promptSchema = z.strictObject({
  /** Bytes of all weights of the prompt graph, as stored. */
  weightBytes: byteCount,
});

/** The encoder of an encoder-decoder model. */
const encoderSchema = z.strictObject({
  /** The lengths that texts are padded to, rising; each has a graph, see `encoderFileOf`. */
  lengths: z
    .array(whole(1, encoderLimits.length))
    .min(1)
    .max(encoderLimits.count)
    .refine((lengths) => lengths.every((length, i) => i === 0 || length > lengths[i - 1]), 'lengths must rise'),
  /** Bytes of all weights of the encoder and of the parts that read its hidden states, as stored. */
  weightBytes: byteCount,
});

/** Medusa heads that were exported with the model. */
const medusaSchema = z.strictObject({
  heads: whole(1, medusaLimits.heads),
  layers: whole(1, medusaLimits.layers),
  /** Bytes of their weights, as stored. */
  weightBytes: byteCount,
  /** The candidate tree that was found for the model before it was exported. */
  tree: medusaTreeSchema.optional(),
});

/** A layer of multi-token prediction that was exported with the model. */
const mtpSchema = z.strictObject({
  /** Bytes of the weights that its graph reads, as stored: its own, and the table and head of the model. */
  weightBytes: byteCount,
});

/** The forms of the graphs of a folder. */
export function formsOfManifest({
  openRows,
  withinFolds,
  ...forms
}: Pick<ExportManifest, 'openRows' | 'replays' | 'productRows' | 'ordered' | 'withinFolds' | 'columns'>): StepForms {
  const absent = { replays: false, productRows: false, ordered: false, columns: false };
  return { ...absent, ...forms, opens: openRows === true, crossesFolds: withinFolds !== true };
}

/** The forms of the graphs of an export: kernels take rows of larger blocks than the smallest in pairs. */
export function formsOfExport({ device, block = smallestBlock }: ExportedAs): StepForms {
  return stepFormsOf(device, block > smallestBlock);
}

interface ExportedAs {
  readonly device: Device;
  /** Absent for types without blocks. */
  readonly block?: BlockSize;
}

const [smallestBlock] = blockSizes;

/** Errors of storing the weights in fewer bits, as an export reports them. */
export type ErrorReport = z.infer<typeof errorReportSchema>;

export const manifestSchema = z.strictObject({
  format: z.literal('linnet-export'),
  version: z.literal(manifestVersion),
  /** How matrices are stored; which graph has which weights is in `storageTypes`. */
  dtype: z.enum(storageTypeNames),
  /** Weights per scale of int4, at most. */
  block: z.literal(blockSizes).optional(),
  /** Device that the graph was made for. `cpu` graphs run as `wasm` too. */
  device: z.enum(['cpu', 'webgpu']),
  /** Whether the step graph reads open rows, so that tokens have the same bits in every tree and batch; absent: it does not. */
  openRows: z.literal(true).optional(),
  /** Whether it replays rows by the runtime's operators for recurrences, in layers that can; absent: it does not. */
  replays: z.literal(true).optional(),
  /** Whether it counts rows of products apart from the nodes that are mixed; absent: it does not. */
  productRows: z.literal(true).optional(),
  /** See `StepForms.ordered`. */
  ordered: z.literal(true).optional(),
  /** Whether its graphs do not cross folds (`StepForms.crossesFolds`). */
  withinFolds: z.literal(true).optional(),
  /** See `StepForms.columns`. */
  columns: z.literal(true).optional(),
  /** Every other file of the folder. */
  files: z.record(fileName, z.strictObject({ bytes: byteCount, sha256: z.string().regex(/^[0-9a-f]{64}$/) })),
  /** Files of the fold graphs by the names that a model's layers have for them; empty without sums. */
  folds: z.record(
    z
      .string()
      .min(1)
      .max(1024)
      .refine((name) => name !== '__proto__'),
    fileName,
  ),
  /** Of types that have a prompt graph, and of no other; never of encoder-decoder models, whose encoder reads prompts. */
  prompt: promptSchema.optional(),
  /** Of encoder-decoder models, and of no other; the step graph is their decoder. */
  encoder: encoderSchema.optional(),
  /** Absent where the model had no Medusa heads. */
  medusa: medusaSchema.optional(),
  /** The layer of multi-token prediction; absent where the model had none. */
  mtp: mtpSchema.optional(),
  /** Bytes of all weights of the step graph, as stored. */
  weightBytes: byteCount,
  /** Version of Linnet that wrote the folder. */
  producer: z.string().max(100),
  report: errorReportSchema,
});

/** A checked linnet.json. */
export type ExportManifest = z.infer<typeof manifestSchema>;

/**
 * Checks a parsed linnet.json: its form, and that it names the files without which there is no model.
 * @param source how errors name it
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
    const found = prompt === undefined ? 'no prompt graph, which it has' : 'a prompt graph, which it does not have';
    throw new LinnetError('FORMAT', `${source} describes an export as ${dtype} with ${found}`);
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

/** Devices that graphs of another run on as they are. */
const runsAlsoOn: Readonly<Record<ExportManifest['device'], readonly string[]>> = {
  cpu: ['wasm', 'cuda'],
  webgpu: [],
};

/**
 * The device to run on: the one asked for, else the one that the export was made for.
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
