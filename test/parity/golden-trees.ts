/** The golden cases of token trees: each a prefix and a tree behind it, mixed by several convolutions. */
import { z } from 'zod';
import { goldenConfig } from './golden.ts';

export const goldenTrees: readonly string[] = [
  'tree_single',
  'tree_chain5',
  'tree_chain20',
  'tree_medusa63',
  'tree_binary4',
  'tree_random8',
  'tree_random20',
  'tree_random32deep',
];

const schema = z.object({
  group_size: z.int(),
  q_heads: z.int(),
  kv_heads: z.int(),
  head_dim: z.int(),
  nodes: z.int(),
  /** How much of the prefix is read, taps of the convolution, and the name of the stored output. */
  variants: z.array(z.object({ prefix_length: z.int(), conv: z.int(), key: z.string() })),
});

/** @param name one of `goldenTrees` */
export const goldenTree = (name: string): z.infer<typeof schema> => goldenConfig(name, schema);
