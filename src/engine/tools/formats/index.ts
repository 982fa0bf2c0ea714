/** All formats of calls, and the rule that chooses one. */
import { LinnetError } from '../../../errors.ts';
import type { ChatTemplate } from '../../../tokenizer/chat-template.ts';
import type { ToolFormat } from '../tool-format.ts';
import { granite } from './granite.ts';
import { hermes } from './hermes.ts';
import { lfm2 } from './lfm2.ts';
import { llama3 } from './llama3.ts';
import { mistral } from './mistral.ts';
import { plainFormat } from './plain-json.ts';
import { qwen35 } from './qwen35.ts';

/** In the order in which they are recognized: signs of later ones may stand in templates of earlier ones. */
const recognized: readonly ToolFormat[] = [lfm2, qwen35, hermes, mistral, granite, llama3];

export const toolFormats: readonly ToolFormat[] = [...recognized, plainFormat];

/** The format of a chat template: `plain-json` where it is none that is known. */
export function toolFormatOf(template: Pick<ChatTemplate, 'has'>): ToolFormat {
  const known = recognized.find(({ signs }) => signs.every((sign) => template.has(sign)));
  return known ?? plainFormat;
}

/** @throws LinnetError `CONFIG` for a name that no format has */
export function toolFormatNamed(name: string): ToolFormat {
  const format = toolFormats.find((one) => one.name === name);
  if (format !== undefined) return format;
  const names = toolFormats.map((one) => one.name).join(', ');
  throw new LinnetError('CONFIG', `there is no tool format "${name.slice(0, 40)}"; there are ${names}`);
}
