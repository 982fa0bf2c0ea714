/** The `--block` option of the commands that store weights. */
import { hasBlocks, type StorageType } from '../../export/storage-types.ts';
import { type BlockSize, blockSizes } from '../../graph/ops/quantized.ts';
import { defaultBlock } from '../../quantization/sources.ts';
import { optional } from '../framework/command.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { numberChoice } from '../framework/option-values.ts';

export const blockOption = optional(
  numberChoice(blockSizes),
  `weights per scale of int4, also in mixed: ${blockSizes.join(', ')}; in larger blocks a model is smaller and ` +
    `decodes faster, and its weights are rounded more (default: ${defaultBlock})`,
);

/** @throws UsageError for a block size of a type without blocks */
export function requireBlocks(dtype: StorageType, block: BlockSize | undefined): void {
  if (block === undefined || hasBlocks(dtype)) return;
  throw new UsageError(`--block is for --dtype int4 and mixed, not ${dtype}`);
}
