/** Configuration of Linformer by blocks. */
import { z } from 'zod';
import { convolutionField } from '../../convolution-config.ts';
import { defaultGroup } from '../../preset.ts';

/** r: with G = 64, an eighth of a key-value cache. */
const defaultBlockRows = 8;

export const blockLinformerSchema = z
  .strictObject({
    kind: z.literal('block-linformer'),
    /** r: rows that a closed block is projected to. */
    rows: z.int().min(1).max(65536).default(defaultBlockRows),
    /** G: positions per block. */
    block: z.int().min(1).max(65536).default(defaultGroup),
    convolution: convolutionField,
  })
  .refine(({ rows, block }) => rows <= block, {
    message: 'a block cannot be projected to more rows than it has positions: lower rows or raise block',
    path: ['rows'],
  });

/** Linformer by blocks, causal: closed blocks are projected to a few rows each, and the own block is attended exactly. */
export type BlockLinformerMixer = z.infer<typeof blockLinformerSchema>;
