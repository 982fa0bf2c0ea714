/** Whole numbers in schemas. */
import { z } from 'zod';

/** A whole number of `least` to `most`, both included. */
export function whole(least = 0, most?: number): z.ZodInt {
  const schema = z.int().min(least);
  return most === undefined ? schema : schema.max(most);
}
