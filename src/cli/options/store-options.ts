/** Options for sharing work between machines without a queue: the place of results, and the part to do here. */
import { z } from 'zod';
import type { Share } from '../../jobs/result-store.ts';
import { called, text, type ValueKind } from '../framework/option-values.ts';
import { optional, settings } from '../framework/command.ts';

/** `0/3` to `2/3`. */
export const shareOfWork: ValueKind<Share> = {
  schema: z
    .string()
    .regex(/^\d{1,6}\/\d{1,6}$/)
    .transform((value) => {
      const [index, count] = value.split('/').map(Number);
      return { index, count };
    })
    .refine(({ index, count }) => index < count),
  expects: 'a part number counted from 0 and the number of parts, such as 0/3',
  placeholder: 'part',
};

export const storePlace = called('place', text);

export const storeOptions = settings({
  store: optional(
    storePlace,
    'place to exchange results with other machines (linnet work): a folder, or s3://bucket/prefix',
  ),
  index: optional(shareOfWork, 'do only this part of the work, such as 0/3, and leave its results in --store'),
});

/** The work's folder, a separate one for each part. */
export function shareFolder(folder: string, share: Share | undefined): string {
  return share === undefined ? folder : `${folder}.part-${share.index}-of-${share.count}`;
}
