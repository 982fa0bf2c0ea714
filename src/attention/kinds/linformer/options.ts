/** The options of the presets of both forms of Linformer. */
import { z } from 'zod';

export const rowsOption = {
  rows: z
    .int()
    .min(1)
    .max(65536)
    .optional()
    .describe('rows that linformer projects to: per block (default: 8), or in all if bidirectional (default: 64)'),
};

export const lengthOption = {
  length: z
    .int()
    .min(128)
    .max(1048576)
    .optional()
    .describe('longest sequence of linformer-bidirectional (default: 1024)'),
};

export const linformerBlockOption = {
  block: z.int().min(1).max(65536).optional().describe('positions per block of linformer (default: 64)'),
};
