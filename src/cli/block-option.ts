/** The `--block` option of the commands that store weights. */
import { type BlockSize, blockSizes } from '../graph/ops/quantized.ts';
import { defaultBlock, type WeightType } from '../quantization/sources.ts';
import { optional } from './command.ts';
import { UsageError } from './exit-codes.ts';
import { numberChoice } from './option-values.ts';

export const blockOption = optional(numberChoice(blockSizes), {
  placeholder: 'size',
  description:
    `weights per scale of int4: ${blockSizes.join(', ')}; larger blocks are smaller and faster to read, and round ` +
    `more (default: ${defaultBlock})`,
});

/** @throws UsageError for a block size of a type without blocks */
export function requireBlocks(dtype: WeightType, block: BlockSize | undefined): void {
  if (block !== undefined && dtype !== 'int4') throw new UsageError(`--block is for --dtype int4, not ${dtype}`);
}
