/** Configurations of both forms of Linformer, and their learned projections. */
import { z } from 'zod';
import { LinnetError } from '../../../errors.ts';
import { convolutionField } from '../../convolution-config.ts';
import type { MixerParameter } from '../../mixer.ts';
import { defaultGroup } from '../../preset.ts';
import { whole } from '../../../files/schema-values.ts';

export const linformerSchema = z.strictObject({
  kind: z.literal('linformer'),
  /** r: rows that keys and values are projected to. */
  rows: whole(1, 65536).default(64),
  /** N: columns of the learned projections; longer sequences are refused. */
  length: whole(128, 1048576).default(1024),
  convolution: convolutionField,
});

/** Linformer as published, for encoders: every position reads the whole sequence. */
export type LinformerMixer = z.infer<typeof linformerSchema>;

/** E: projects keys [r,N], by blocks [r,G]. */
export const keyProjection = 'linformer_k.weight';

/** F: projects values [r,N], by blocks [r,G]. */
export const valueProjection = 'linformer_v.weight';

/** The learned projections to `rows` of `columns` positions, shared by the heads. */
export function projectionParameters(rows: number, columns: number): MixerParameter[] {
  return [keyProjection, valueProjection].map((name) => ({ name, shape: [rows, columns], init: 'averages' }));
}

/** @throws LinnetError `SHAPE` for a sequence longer than the learned projections */
export function requireFittingLength({ length }: LinformerMixer, positions: number): void {
  if (positions <= length) return;
  throw new LinnetError(
    'SHAPE',
    `a Linformer mixer has projections for ${length} positions, got a sequence of ${positions}; cut the sequence`,
  );
}

/** r: with G = 64, an eighth of a key-value cache. */
const defaultBlockRows = 8;

export const blockLinformerSchema = z
  .strictObject({
    kind: z.literal('block-linformer'),
    /** r: rows that a closed block is projected to. */
    rows: whole(1, 65536).default(defaultBlockRows),
    /** G: positions per block. */
    block: whole(1, 65536).default(defaultGroup),
    convolution: convolutionField,
  })
  .refine(({ rows, block }) => rows <= block, {
    message: 'a block cannot be projected to more rows than it has positions: lower rows or raise block',
    path: ['rows'],
  });

/** Causal Linformer by blocks: closed blocks are projected to a few rows each; the current block is attended exactly. */
export type BlockLinformerMixer = z.infer<typeof blockLinformerSchema>;
