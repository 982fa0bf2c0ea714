/** Options of how a model is spoken to. */
import { toolFormats } from '../../engine/tools/tool-formats.ts';
import { optional } from '../framework/command.ts';
import { choice, filePath } from '../framework/option-values.ts';

const formats = toolFormats.map(({ name }) => name);

export const chatOptions = {
  chatTemplate: optional(filePath, "chat template to use instead of the model's"),
  toolFormat: optional(
    choice(formats),
    `how the model writes function calls: ${formats.join(', ')} (default: by its chat template)`,
  ),
};
