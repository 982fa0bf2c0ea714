/** Work that runs whole, with all weights in memory, or layer by layer: chosen by what fits, and refused before a weight is read. */
import { LinnetError } from '../errors.ts';
import { formatBytes } from '../report/quantities.ts';
import { memoryLimit } from './plans/options.ts';

/** With all weights in memory, or with those of one layer at a time. */
export type MemoryForm = 'whole' | 'layers';

/** A form that fits, and its memory at the peak. */
export interface FormPlan {
  readonly form: MemoryForm;
  readonly memoryBytes: number;
}

/**
 * The faster form that fits.
 * @param bytes of each form that the work has
 * @param remedies completes "What helps:"
 * @throws LinnetError `CONFIG` where neither fits
 */
export function chooseForm(
  work: string,
  bytes: Readonly<Partial<Record<MemoryForm, number>>>,
  limit: number = memoryLimit(undefined),
  remedies: readonly string[] = [],
): FormPlan {
  const forms = (['whole', 'layers'] as const).flatMap((form) => {
    const memoryBytes = bytes[form];
    return memoryBytes === undefined ? [] : [{ form, memoryBytes }];
  });
  const fitting = forms.find(({ memoryBytes }) => memoryBytes <= limit);
  if (fitting !== undefined) return fitting;
  const smallest = Math.min(...forms.map(({ memoryBytes }) => memoryBytes));
  const helps = [...remedies, `\`memory\` of at least ${formatBytes(smallest)}, where the machine has it`];
  throw new LinnetError(
    'CONFIG',
    `${work} takes about ${formatBytes(smallest)}, and the limit is ${formatBytes(limit)}. What helps: ${helps.join('; ')}`,
  );
}
