/** The fields by which Qwen's configurations say which layers have a sliding window, at the values that mean none. */
import { z } from 'zod';
import { onlyValue } from './config.ts';

/**
 * Descriptions and code of windows in some layers have disagreed about which layers those are, and no published checkpoint
 * switches them on: they are refused.
 */
export const wholeAttentionFields = {
  use_sliding_window: onlyValue(false, 'every layer reads the whole past'),
  layer_types: z
    .array(z.literal('full_attention', 'only "full_attention" is supported: every layer reads the whole past'))
    .nullish(),
  use_mrope: onlyValue(false, 'positions are numbers, not places in pictures'),
};

/** Fields that count only where `use_sliding_window` is true. */
export const unusedWindowFields = ['sliding_window', 'max_window_layers'];
