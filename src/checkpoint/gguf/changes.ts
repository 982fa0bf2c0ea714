/** Undoes the conversion's changes to tensors. */
import { elementCount } from '../../graph/tensor.ts';
import type { Change } from './recipes.ts';

/**
 * Query and key rows reordered for rotations of neighbors: within a head of width D the file's row 2i + j is the checkpoint's
 * row j·D/2 + i.
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

/** Gains stored as 1 + w. */
export const centred: Change = () => ({
  values(values) {
    for (let i = 0; i < values.length; i++) values[i] -= 1;
  },
});

/** −exp(A_log), per head. */
export const negativeExponential: Change = ({ shape }) => ({
  shape: [elementCount(shape)],
  values(values) {
    for (let i = 0; i < values.length; i++) values[i] = Math.log(-values[i]);
  },
});

/** All values in one row. */
export const flat: Change = ({ shape }) => ({ shape: [elementCount(shape)] });

/** Filters [channels, taps]; checkpoints have [channels, 1, taps]. */
export const filters: Change = ({ shape: [channels, taps] }) =>
  taps === undefined ? {} : { shape: [channels, 1, taps] };

/** Matrices that the checkpoint stores as [inputs, outputs]. */
export const transposed: Change = ({ shape: [rows, columns] }) =>
  columns === undefined ? {} : { shape: [columns, rows], transposed: true };

/** How value heads were reordered: the file's head h has key head h mod `keyHeads`; in checkpoints neighbors share one. */
export interface ValueHeads {
  readonly heads: number;
  readonly keyHeads: number;
}

/** The file's index for the checkpoint's value head H. */
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
