/** Published models by name, whatever their family: their config.json, for models without weights. */
import { LinnetError } from '../../errors.ts';
import { flashPaperShape } from '../families/flash/presets.ts';
import { gpt2Shape, gpt2ShapeNames } from '../families/gpt2/shapes.ts';
import { llamaShape, llamaShapeNames } from '../families/llama/shapes.ts';

const flashName = 'flash-110m';

/** The names that `publishedShape` knows. */
export const publishedShapeNames: readonly string[] = [...llamaShapeNames, ...gpt2ShapeNames, flashName];

/** The config.json of a published size. @throws LinnetError `CONFIG` for an unknown name */
export function publishedShape(name: string): Record<string, unknown> {
  if (llamaShapeNames.includes(name)) return llamaShape(name);
  if (gpt2ShapeNames.includes(name)) return gpt2Shape(name);
  if (name === flashName) return { ...flashPaperShape };
  throw new LinnetError('CONFIG', `unknown model "${name}"; known are ${publishedShapeNames.join(', ')}`);
}
