/** The prompt of `linnet generate`: the source of its text, and its tokens. */
import { z } from 'zod';
import { readTextFile } from '../../data/files/text-file.ts';
import { standardInputName } from '../../data/files/standard-input.ts';
import type { PromptInput } from '../../engine/prompt.ts';
import { flag, optional, settings } from '../framework/command.ts';
import type { CommandContext } from '../framework/context.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { anyText, filePath, text, tokenIds, type ValueKind } from '../framework/option-values.ts';

/** `off`, which is 0, or a number of tokens. */
const thinkingValue: ValueKind<number> = {
  schema: z
    .string()
    .regex(/^(?:off|[1-9][0-9]{0,8})$/)
    .transform((value) => (value === 'off' ? 0 : Number(value))),
  expects: '"off" or a number of tokens',
  placeholder: 'tokens',
};

export const promptOptions = {
  prompt: optional(anyText, 'text to continue; - reads standard input'),
  chat: flag("send the prompt as a user message through the model's chat template"),
  system: optional(text, 'with --chat: system message before the prompt'),
  thinking: optional(
    thinkingValue,
    'with --chat: limit of thinking tokens before the answer, or "off" (default: no limit)',
  ),
  ...settings({
    promptFile: optional(filePath, 'file with the text to continue; - reads standard input'),
    promptTokens: optional(tokenIds, 'token ids to continue, such as 1,2,3'),
    parseSpecial: flag('read <s> and other control tokens in the prompt as tokens, not as text; no BOS is added'),
  }),
};

type PromptValues = z.output<z.ZodObject<typeof promptOptions>>;

interface PromptSource {
  readonly kind: 'none' | 'text' | 'tokens';
  /** The engine's input; without a prompt, no tokens. */
  readonly input: () => Promise<PromptInput>;
}

/** @throws UsageError for options that exclude each other */
export function promptSource(options: PromptValues, context: CommandContext): PromptSource {
  const { prompt, promptTokens, promptFile, parseSpecial, chat, system, thinking } = options;
  const ofTokens = (kind: 'none' | 'tokens', tokens: readonly number[]): PromptSource => {
    return { kind, input: () => Promise.resolve({ tokens }) };
  };
  const ofText = (read: () => string | Promise<string>): PromptSource => ({
    kind: 'text',
    async input() {
      const content = await read();
      if (!chat) return { text: content, special: parseSpecial };
      const begin = system === undefined ? [] : [{ role: 'system', content: system }];
      const variables = thinking === undefined ? undefined : { enable_thinking: thinking > 0 };
      return { messages: [...begin, { role: 'user', content }], variables };
    },
  });
  const piped = ofText(() => readInput(context));
  const sources: PromptSource[] = [];
  if (prompt !== undefined) sources.push(prompt === standardInputName ? piped : ofText(() => prompt));
  if (promptTokens !== undefined) sources.push(ofTokens('tokens', promptTokens));
  if (promptFile !== undefined)
    sources.push(promptFile === standardInputName ? piped : ofText(() => readTextFile(promptFile)));
  if (sources.length > 1)
    throw new UsageError('--prompt, --prompt-tokens and --prompt-file exclude each other; give only one');
  const source = sources.at(0) ?? (context.input.isPiped() ? piped : ofTokens('none', []));
  if (system !== undefined && !chat) throw new UsageError('--system needs --chat');
  if (thinking !== undefined && !chat) throw new UsageError('--thinking needs --chat');
  if (chat && parseSpecial)
    throw new UsageError('--chat does not take --parse-special: control tokens in messages are text; leave out one');
  if ((chat || parseSpecial) && source.kind !== 'text') {
    const needing = chat ? '--chat' : '--parse-special';
    throw new UsageError(`${needing} needs text: give --prompt, --prompt-file or a pipe`);
  }
  return source;
}

/** After this long without input the command notes that it reads the standard input. */
const patienceMs = 2000;

/** The standard input without the line break that `echo` ends with. */
async function readInput(context: CommandContext): Promise<string> {
  const waiting = setTimeout(() => {
    context.note('reading the prompt from standard input; --prompt "" starts without one');
  }, patienceMs);
  try {
    return (await context.input.read()).replace(/\n$/, '');
  } finally {
    clearTimeout(waiting);
  }
}
