/** Parameters that start elsewhere than where a family draws them, as the plan of a study of recall says. */
import { LinnetError } from '../../errors.ts';
import { elementCount, type Tensor, tensor } from '../../graph/tensor.ts';
import type { RecallInitialValues } from './plan.ts';

/**
 * Parameters with the values of a plan.
 * @throws LinnetError `CONFIG` for a name that no parameter ends with, or values that do not fit its shape
 */
export function startingAt(
  parameters: ReadonlyMap<string, Tensor<'float32'>>,
  initial: Readonly<RecallInitialValues> = {},
): Map<string, Tensor<'float32'>> {
  const started = new Map(parameters);
  for (const [end, values] of Object.entries(initial)) {
    const found = [...parameters].filter(([name]) => name.endsWith(`.${end}`));
    if (found.length === 0) throw new LinnetError('CONFIG', `"initial" names ${end}, which no parameter ends with`);
    for (const [name, drawn] of found) started.set(name, startOf(name, drawn, values));
  }
  return started;
}

function startOf(
  name: string,
  { shape, data }: Tensor<'float32'>,
  values: RecallInitialValues[string],
): Tensor<'float32'> {
  if (typeof values === 'object' && 'scale' in values) {
    return tensor(
      'float32',
      shape,
      data.map((value) => value * values.scale),
    );
  }
  const pattern = typeof values === 'number' ? [values] : values;
  const count = elementCount(shape);
  if (count % pattern.length !== 0) {
    throw new LinnetError(
      'CONFIG',
      `"initial" has ${pattern.length} numbers for ${name} of ${count} elements; give a divisor of them`,
    );
  }
  return tensor(
    'float32',
    shape,
    Float32Array.from({ length: count }, (_, at) => pattern[at % pattern.length]),
  );
}
