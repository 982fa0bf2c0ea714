/** `linnet chat`: a conversation in the terminal. */
import { basename } from 'node:path';
import { readTextFile } from '../../data/files/text-file.ts';
import { LinnetError } from '../../errors.ts';
import { formatBytes, formatCount, formatNumber } from '../../report/quantities.ts';
import type { ThoughtPart } from '../../engine/thinking/thought-reader.ts';
import { Conversation, type ConversationAnswer } from '../../engine/chat/conversation.ts';
import type { ToolFunction } from '../../engine/tools/tool-formats.ts';
import { defineCommand, engineOptions, flag, optional, settings, withDefault } from '../framework/command.ts';
import type { CommandContext } from '../framework/context.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { called, filePath, integer, seed32, text } from '../framework/option-values.ts';
import { answerStream } from '../output/answer-stream.ts';
import { chatOptions } from '../options/chat-options.ts';
import { modelNamed } from '../options/model-options.ts';
import { fetchedModel } from '../options/hub-options.ts';
import { memoryOption } from '../options/memory-option.ts';
import { samplingOptions } from '../options/sampling-options.ts';
import { open } from '../../open/index.ts';
import { readTools, type ResultSource, callResult } from './chat/tool-results.ts';

/** A command of a line that begins with a slash. Without `run` it ends the conversation. */
interface ChatCommand {
  readonly help: string;
  readonly run?: (conversation: Conversation, argument: string, context: CommandContext) => void | Promise<void>;
}

/** @throws LinnetError `INPUT` if a command lacks its argument */
function named(argument: string, what: string): string {
  if (argument !== '') return argument;
  throw new LinnetError('INPUT', `give ${what} after the command`);
}

const chatCommands: Readonly<Record<string, ChatCommand>> = {
  '/save': {
    help: '/save FILE saves the session; --session FILE continues it',
    async run(conversation, argument, context) {
      const file = named(argument, 'a file');
      await conversation.save(file);
      context.print(`saved as ${file}`);
    },
  },
  '/fork': {
    help: '/fork NAME keeps a copy of the conversation',
    run(conversation, argument, context) {
      const name = named(argument, 'a name');
      conversation.fork(name);
      context.print(`kept as ${name}; /switch ${name} returns here`);
    },
  },
  '/switch': {
    help: '/switch NAME goes to a fork',
    run(conversation, argument, context) {
      const found = conversation.switchTo(named(argument, 'a name'));
      context.print(found ? `at ${argument}` : `no fork is called ${argument}; /state lists them`);
    },
  },
  '/undo': {
    help: '/undo removes the last turn',
    run: (conversation, _, context) =>
      context.print(conversation.undo() ? 'removed the last turn' : 'there is no turn to remove'),
  },
  '/state': {
    help: '/state shows the length of the text and the size of its state',
    run(conversation, _, context) {
      const { tokens, stateBytes, turns, forks } = conversation.state;
      const named = forks.length === 0 ? 'no forks' : `forks: ${forks.join(', ')}`;
      context.print(`${formatCount(tokens)} tokens in ${turns} turns, ${formatBytes(stateBytes)} of state, ${named}`);
    },
  },
  '/help': {
    help: '/help lists the commands',
    run(_, __, context) {
      for (const { help } of Object.values(chatCommands)) context.print(help);
    },
  },
  '/quit': { help: '/quit ends the chat, like Ctrl-D and the end of input' },
  '/exit': { help: '/exit does the same' },
};

export const chatCommand = defineCommand({
  description:
    'Chats with a model: reads messages from standard input, one per line. Lines that begin with a slash are commands: /save, /fork, /switch, /undo, ' +
    '/state, /help, /quit, /exit. Without a chat template the model continues your text. Each turn reads only the new text. With --tools the model may ' +
    'call functions: you see each call and type its result, or --tool-command prints it, given the call as JSON ({"id", "name", "arguments"}) on its ' +
    'input. Ctrl-C ends the chat.',
  examples: [
    'linnet chat runs/augmented --chat-template chat.jinja --temperature 0.7',
    'linnet chat linnet:tiny-llama --max-tokens 40',
    'linnet chat LiquidAI/LFM2-350M',
    'linnet chat models/Qwen2.5-0.5B-Instruct-Q4_K_M.gguf',
    "linnet chat runs/augmented --tools tools.json --tool-command 'node call.js'",
  ],
  arguments: { model: modelNamed },
  options: {
    system: optional(text, 'system message'),
    session: optional(filePath, 'session file to continue'),
    tools: optional(filePath, "JSON file of functions that the model may call, in OpenAI's format"),
    toolCommand: optional(
      called('command', text),
      'command that prints the result of a call, after you confirm it (default: you type results)',
    ),
    yes: flag('run --tool-command without asking'),
    chatTemplate: chatOptions.chatTemplate,
    maxTokens: withDefault(integer(1, 1 << 30), 512, 'maximum tokens per answer'),
    temperature: samplingOptions.temperature,
    topP: samplingOptions.topP,
    seed: withDefault(seed32, 0, 'random seed'),
    memory: memoryOption,
    ...settings({
      toolFormat: chatOptions.toolFormat,
      toolChoice: withDefault(
        called('name', text),
        'auto',
        'functions each answer must call: "required" for any, a function\'s name, or "auto" to let the model decide',
      ),
    }),
    ...engineOptions,
  },
  async run(context, options) {
    if (options.tools === undefined && (options.toolCommand ?? options.toolFormat) !== undefined) {
      throw new UsageError('--tool-command and --tool-format need --tools, a file of functions');
    }
    if (options.yes && options.toolCommand === undefined)
      throw new UsageError('--yes needs --tool-command, the command to confirm');
    const tools = options.tools === undefined ? [] : await readTools(options.tools);
    const required = requiredTools(tools, options.toolChoice);
    const folder = await fetchedModel(context, options.model, options);
    const { device, threads, temperature, topP, seed, system, maxTokens, toolFormat } = options;
    const chatTemplate = options.chatTemplate === undefined ? undefined : await readTextFile(options.chatTemplate);
    await using model = await open(folder, { name: basename(folder), chatTemplate, device, threads });
    model.template?.check();
    const conversation = new Conversation(model, {
      maxTokens,
      system,
      sampling: { temperature, topP, seed },
      tools,
      required,
      toolFormat,
    });
    if (options.session !== undefined) await conversation.load(options.session);
    if (model.template === undefined) context.note('the model has no chat template: it continues your text');
    while (!context.signal.aborted) {
      const line = await context.ask('> ');
      if (line === undefined || !(await oneLine(context, conversation, line, options))) break;
    }
    const { tokens, turns, stateBytes } = conversation.state;
    return { json: { turns, tokens, stateBytes } };
  },
});

/** @throws UsageError for an unknown function */
function requiredTools(tools: readonly ToolFunction[], choice: string): readonly ToolFunction[] | undefined {
  if (choice === 'auto') return undefined;
  const required = choice === 'required' ? tools : tools.filter(({ name }) => name === choice);
  if (required.length > 0) return required;
  throw new UsageError(
    `--tool-choice is "${choice}", which --tools does not define; it has ${tools.map(({ name }) => name).join(', ') || 'none'}`,
  );
}

/** A command or a turn. A mistake in one does not end the conversation. */
async function oneLine(
  context: CommandContext,
  conversation: Conversation,
  line: string,
  source: ResultSource,
): Promise<boolean> {
  const [word, ...rest] = line.trim().split(/\s+/);
  if (word === '') return true;
  try {
    if (Object.hasOwn(chatCommands, word)) {
      const { run } = chatCommands[word];
      await run?.(conversation, rest.join(' '), context);
      return run !== undefined;
    }
    if (word.startsWith('/')) {
      context.print(`${word} is not a command; /help lists them`);
      return true;
    }
    let turn = await streamAnswer(context, conversation.say(line, context.signal));
    for (let rounds = 0; turn.calls.length > 0; rounds++) {
      if (rounds === mostRounds) {
        context.note(`the model called functions ${mostRounds} times in a row; type a line to continue`);
        break;
      }
      const results = [];
      for (const call of turn.calls) {
        const content = await callResult(context, call, source);
        if (content === undefined) return false;
        results.push({ call, content });
      }
      turn = await streamAnswer(context, conversation.answerCalls(results, context.signal));
    }
  } catch (error) {
    if (!(error instanceof LinnetError) || error.code === 'INTERNAL') throw error;
    context.print(error.message);
  }
  return true;
}

/** Most answers in a row that call functions. */
const mostRounds = 16;

async function streamAnswer(
  context: CommandContext,
  answer: AsyncGenerator<ThoughtPart, ConversationAnswer, undefined>,
): Promise<ConversationAnswer> {
  let written = false;
  const show = answerStream(context);
  for (;;) {
    const piece = await answer.next();
    if (piece.done !== true) {
      if (show(piece.value)) written = true;
      continue;
    }
    const { calls, tokens, tokensPerSecond, promptTokens } = piece.value;
    if (written || calls.length === 0) context.stream('\n');
    context.note(
      `${formatCount(promptTokens)} tokens before, ${formatCount(tokens.length)} written, ${formatNumber(tokensPerSecond, 3)} tokens/s`,
    );
    return piece.value;
  }
}
