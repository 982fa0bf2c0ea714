/** Values that schemas share. */
import { z } from 'zod';

/** A whole number from `least` to `most`, both included. */
export function whole(least = 0, most?: number): z.ZodInt {
  const schema = z.int().min(least);
  return most === undefined ? schema : schema.max(most);
}

export const positiveNumber = z.number().positive();
/** A number from 0 to 1. */
export const share = z.number().min(0).max(1);
export const filledText = z.string().min(1);
export const onByDefault = z.boolean().default(true);
export const offByDefault = z.boolean().default(false);
