/** Conversion's changes of tensors, undone. */
import { elementCount } from '../../graph/tensor.ts';
import type { Change } from './recipes.ts';

/**
 * Rows of queries and keys that were put in the order of a rotation of neighbours: within a head of width D row 2i + j of the file
 * is row j·D/2 + i of the checkpoint.
 */
export function turnedHeads(headWidth: number): Change {
  const half = headWidth / 2;
  return () => ({
    row(r) {
      const [head, within] = [Math.floor(r / headWidth), r % headWidth];
      return head * headWidth + 2 * (within % half) + Math.floor(within / half);
    },
  });
}

/** Gains that were stored as 1 + w. */
export const centred: Change = () => ({
  values(values) {
    for (let i = 0; i < values.length; i++) values[i] -= 1;
  },
});

/** −exp(A_log), of heads. */
export const negativeExponential: Change = ({ shape }) => ({
  shape: [elementCount(shape)],
  values(values) {
    for (let i = 0; i < values.length; i++) values[i] = Math.log(-values[i]);
  },
});

/** All in one row. */
export const flat: Change = ({ shape }) => ({ shape: [elementCount(shape)] });

/** Filters [channels, taps], which checkpoints have as [channels, 1, taps]. */
export const filters: Change = ({ shape: [channels, taps] }) =>
  taps === undefined ? {} : { shape: [channels, 1, taps] };

/** Matrices that the checkpoint stores as [inputs, outputs]. */
export const transposed: Change = ({ shape: [rows, columns] }) =>
  columns === undefined ? {} : { shape: [columns, rows], transposed: true };

/** How value heads were reordered: head h of the file has key head h mod `keyHeads`; in checkpoints neighbours share one. */
export interface ValueHeads {
  readonly heads: number;
  readonly keyHeads: number;
}

/** The place in a file of value head H of a checkpoint. */
function storedHead({ heads, keyHeads }: ValueHeads, head: number): number {
  const shared = heads / keyHeads;
  return (head % shared) * keyHeads + Math.floor(head / shared);
}

/** Rows of value heads, each of `width`, after `before` others. */
export function valueRows(given: ValueHeads, width: number, before = 0): Change {
  return () => ({
    row: (r) =>
      r < before ? r : before + storedHead(given, Math.floor((r - before) / width)) * width + ((r - before) % width),
  });
}

/** Columns of value heads. */
export function valueColumns(given: ValueHeads, width: number): Change {
  return () => ({
    column: { unit: width, of: (c) => storedHead(given, Math.floor(c / width)) * width + (c % width) },
  });
}

/** One change after the other. */
export function both(one: Change, other: Change): Change {
  return (tensor) => ({ ...one(tensor), ...other(tensor) });
}
