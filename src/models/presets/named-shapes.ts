/** Published sizes of a family, found by their names. */
import { LinnetError } from '../../errors.ts';

/** @throws LinnetError `CONFIG` for an unknown name, listing the known ones */
export function namedShape<Shape>(family: string, shapes: Readonly<Record<string, Shape>>, name: string): Shape {
  if (Object.hasOwn(shapes, name)) return shapes[name];
  throw new LinnetError('CONFIG', `unknown ${family} size "${name}"; the sizes are ${Object.keys(shapes).join(', ')}`);
}
