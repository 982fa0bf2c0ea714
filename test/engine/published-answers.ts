/**
 * Cases of answers that other engines' tests hold: what a model writes, and the thoughts, the text and the calls in it. They are third-party
 * fixtures; what is no answer in them (helpers of those engines, repairs of broken texts) is left out.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { thinkingFormatOf, type ThinkingFormat, endsInThoughts } from '../../src/engine/thinking/thinking-format.ts';
import {
  toolFormatNamed,
  toolFormatOf,
  type ToolFormat,
  type ToolFunction,
} from '../../src/engine/tools/tool-formats.ts';
import { byteTokenizer } from '../../src/tokenizer/bytes.ts';
import { ChatTemplate } from '../../src/tokenizer/chat-template.ts';

/** An answer, and the parts of it that its source states. */
export interface AnswerCase {
  readonly name: string;
  readonly thinking: ThinkingFormat | undefined;
  /** Whether the prompt ends in thoughts. */
  readonly begun: boolean;
  /** Undefined where no function may be called. */
  readonly tools: ToolFormat | undefined;
  readonly functions: readonly ToolFunction[];
  /** The answer that a continuation goes on with. */
  readonly before: string;
  readonly text: string;
  /** Whether the text goes on: nothing that is held back is given out. */
  readonly goesOn: boolean;
  readonly thoughts?: string;
  readonly content?: string;
  readonly calls?: readonly { readonly name: string; readonly json: string }[];
  /** Whether the last call is not complete: its JSON is compared as text. */
  readonly isPartial: boolean;
}

const plain = { begun: false, functions: [], before: '', goesOn: false, isPartial: false } as const;

const functionSchema = z.object({
  function: z.object({
    name: z.string(),
    description: z.string().optional(),
    parameters: z.record(z.string(), z.unknown()).optional(),
  }),
});
const functionsSchema = z.array(functionSchema).nullish();

function functionsOf(tools: z.infer<typeof functionsSchema>): ToolFunction[] {
  return (tools ?? []).map((tool) => tool.function);
}

function readJson(folder: string, path: string): unknown {
  return JSON.parse(readFileSync(join(folder, path), 'utf8'));
}

// llama.cpp

const toolCallsSchema = z.array(z.object({ name: z.string(), arguments: z.string() }));
const llamaSchema = z.object({
  tests: z.array(
    z.object({
      templates: z.array(z.string()),
      line: z.number(),
      model_output: z.string(),
      tools: functionsSchema,
      enable_thinking: z.boolean().optional(),
      reasoning_format: z.string().optional(),
      is_partial: z.boolean().optional(),
      messages: z.array(z.looseObject({ content: z.string(), reasoning_content: z.string().optional() })).optional(),
      continue_final_message: z.enum(['content', 'reasoning']).optional(),
      expect: z.object({ content: z.string(), reasoning_content: z.string(), tool_calls: toolCallsSchema }).optional(),
      expect_content: z.string().optional(),
      expect_reasoning: z.string().optional(),
      expect_tool_calls: toolCallsSchema.optional(),
    }),
  ),
});

type LlamaCase = z.infer<typeof llamaSchema>['tests'][number];

/** The template of a name among all folders; undefined where the fixtures have none. */
function templateNamed(folder: string, path: string): string | undefined {
  const name = path.split('/').at(-1) ?? '';
  for (const family of readdirSync(folder)) {
    const templates = join(folder, family, 'llama.cpp-templates');
    try {
      return readFileSync(join(templates, name), 'utf8');
    } catch {
      // not of this family
    }
  }
  return undefined;
}

function llamaCase(given: LlamaCase, path: string, source: string): AnswerCase {
  const template = new ChatTemplate(source, byteTokenizer());
  const thinking = given.reasoning_format === 'none' ? undefined : thinkingFormatOf(template);
  const { continue_final_message: continued } = given;
  const tools = (given.tools ?? []).map((tool) => ({ type: 'function', ...tool }));
  const variables = { enable_thinking: given.enable_thinking ?? true };
  const messages = [{ role: 'user', content: 'Hey' }];
  const prompt = thinkingFormatOf(template) === undefined ? '' : template.render(messages, { variables });
  const last = given.messages?.at(-1);
  const marks = thinking ?? { open: '', close: '' };
  const thought =
    last?.reasoning_content === undefined || thinking === undefined ? '' : marks.open + last.reasoning_content;
  const before =
    continued === undefined ? '' : thought + (continued === 'content' ? marks.close + (last?.content ?? '') : '');
  const begunText = /<think>\s*$/.exec(prompt)?.[0] ?? '';
  const { expect: all } = given;
  const content = all?.content ?? given.expect_content;
  const calls = (all?.tool_calls ?? given.expect_tool_calls)?.map((call) => ({
    name: call.name,
    json: call.arguments,
  }));
  return {
    ...plain,
    name: `${path.split('/').at(-1)} ${given.line}`,
    thinking,
    begun: continued === undefined && thinking !== undefined && endsInThoughts(thinking, prompt),
    tools: tools.length === 0 ? undefined : toolFormatOf(template),
    functions: functionsOf(given.tools),
    before:
      before + (thinking === undefined && continued === undefined && content?.startsWith(begunText) ? begunText : ''),
    text: given.model_output,
    thoughts: thinking === undefined ? undefined : (all?.reasoning_content ?? given.expect_reasoning),
    content,
    calls,
    isPartial: given.is_partial === true,
  };
}

/** Cases of llama.cpp's tests, and those whose template is of no family here. */
export function llamaCases(folder: string): { readonly cases: AnswerCase[]; readonly leftOut: string[] } {
  const cases: AnswerCase[] = [];
  const leftOut: string[] = [];
  for (const family of ['gemma3', 'lfm2', 'llama', 'qwen2', 'qwen3_5']) {
    const { tests } = llamaSchema.parse(readJson(folder, `${family}/llama.cpp-tests/parse-tool-calls.json`));
    for (const given of tests) {
      const sources = given.templates.map((path) => [path, templateNamed(folder, path)] as const);
      for (const [path, source] of sources) {
        if (source === undefined) leftOut.push(`${path} ${given.line}`);
        else cases.push(llamaCase(given, path, source));
      }
    }
  }
  return { cases, leftOut };
}

// Ollama

const ollamaCallSchema = z.object({
  function: z.object({ name: z.string(), arguments: z.record(z.string(), z.unknown()).optional() }),
});
const ollamaCallsSchema = z.union([z.array(ollamaCallSchema), ollamaCallSchema]).nullish();
const ollamaSchema = z.object({
  tests: z.array(
    z.object({
      test: z.string(),
      name: z.string().optional(),
      desc: z.string().optional(),
      input: z.string().optional(),
      content: z.string().optional(),
      continuation: z.string().optional(),
      chunks: z.array(z.string()).optional(),
      raw: z.string().optional(),
      want: z.unknown().optional(),
      paramType: z.array(z.string()).optional(),
      think: z.boolean().optional(),
      hasThinking: z.boolean().optional(),
      thinkingEnabled: z.boolean().optional(),
      prefillMsg: z.unknown().optional(),
      expectedContent: z.string().optional(),
      expectedText: z.string().optional(),
      expectedThinking: z.string().optional(),
      expectedCalls: ollamaCallsSchema,
      expectedToolCalls: ollamaCallsSchema,
      expected: z.union([z.string(), z.number(), ollamaCallsSchema]).optional(),
      expectError: z.boolean().optional(),
      wantContent: z.string().optional(),
      wantThinking: z.string().optional(),
      steps: z
        .array(
          z.object({
            input: z.string(),
            wantEvents: z.array(
              z.object({
                event: z.string(),
                content: z.string().optional(),
                thinking: z.string().optional(),
                raw: z.string().optional(),
                name: z.string().optional(),
                args: z.string().optional(),
              }),
            ),
          }),
        )
        .optional(),
    }),
  ),
});

type OllamaCase = z.infer<typeof ollamaSchema>['tests'][number];

const think = thinkingFormatOf({ has: (sign) => sign.includes('think') });
const bracketed = thinkingFormatOf({ has: (sign) => sign.includes('THINK') });
const channel = thinkingFormatOf({ has: (sign) => sign.includes('channel') });

function callsOf(given: z.infer<typeof ollamaCallsSchema>): AnswerCase['calls'] {
  return [given ?? []].flat().map(({ function: called }) => {
    return { name: called.name, json: JSON.stringify(called.arguments ?? {}) };
  });
}

/** A name for what stands between the tags of a call that is none. */
function slug(raw: string): string {
  return raw.replaceAll(/\W/g, '_').slice(0, 60);
}

/** The text of steps, calls without meaning replaced by calls of functions of such names. */
function stepped(given: OllamaCase, call: (name: string) => string): Partial<AnswerCase> & { readonly text: string } {
  const steps = given.steps ?? [];
  const events = steps.flatMap((step) => step.wantEvents);
  const joined = (kind: string, key: 'content' | 'thinking'): string =>
    events.flatMap((event) => (event.event.endsWith(kind) ? [event[key] ?? event.content ?? ''] : [])).join('');
  return {
    text: steps
      .map((step) => step.input)
      .join('')
      .replaceAll(
        /<tool_call>([\s\S]*?)<\/tool_call>/g,
        (_, raw: string) => `<tool_call>${call(slug(raw))}</tool_call>`,
      ),
    goesOn: true,
    content: events
      .flatMap((event) => (/(?<!Thinking)Content$/.test(event.event) ? [event.content ?? ''] : []))
      .join(''),
    thoughts: joined('ThinkingContent', 'content') + joined('EventThinking', 'thinking'),
    calls: events.flatMap(({ raw, name, args }) => {
      if (raw !== undefined) return [{ name: slug(raw), json: '{}' }];
      return name === undefined ? [] : [{ name, json: args ?? '{}' }];
    }),
  };
}

interface OllamaSource {
  readonly path: string;
  readonly thinking: ThinkingFormat | undefined;
  readonly format: string;
  /** The case of a test; undefined for one that is of no answer. */
  read(given: OllamaCase): (Partial<AnswerCase> & { readonly text: string }) | undefined;
}

const whole = (given: OllamaCase): string => given.input ?? given.continuation ?? (given.chunks ?? []).join('');
const stated = (given: OllamaCase): Partial<AnswerCase> => ({
  content: given.expectedContent ?? given.expectedText ?? given.wantContent,
  thoughts: given.expectedThinking ?? given.wantThinking ?? '',
  calls: callsOf(given.expectedCalls ?? given.expectedToolCalls),
});

/** Cases that say otherwise than the others, with the reason. */
export const otherwise: Readonly<Record<string, string>> = {
  'parse-lfm2 complex_tool_arguments': 'the values were lost when the case was taken out of its source',
  'parse-lfm2 invalid_argument_format': 'a call without a value is a call without arguments here',
  'parse-qwen3coder-xml null value lowercase': 'the schema says a string, and a call keeps to its schema',
  'parse-qwen3coder-xml invalid boolean falls back to false': 'a word that is no value stays a string',
  'parse-qwen3vl-thinking nested thinking and tool call (outside thinking, inside tool call)':
    'thoughts may speak of calls: they end by their mark alone, as in llama.cpp',
  'parse-qwen3vl-thinking nested thinking and tool call (outside tool call, inside thinking)': 'the same',
  'parse-qwen3vl-thinking interleaved thinking and tool call': 'the same',
};

const objectCall = (name: string): string => `{"name": "${name}", "arguments": {}}`;

const ollamaSources: readonly OllamaSource[] = [
  {
    path: 'lfm2/ollama-tests/parse-lfm2.json',
    thinking: think,
    format: 'lfm2',
    read(given) {
      if (/HasThinkingSupport|ImagePlaceholders/.test(given.test)) return undefined;
      const { content: inner, expected } = given;
      if (inner === undefined) {
        return { text: whole(given), thinking: given.hasThinking === true ? think : undefined, ...stated(given) };
      }
      const text = inner.startsWith('<|') ? inner : `<|tool_call_start|>${inner}<|tool_call_end|>`;
      const calls = typeof expected === 'object' ? callsOf(expected) : [];
      return { text, calls };
    },
  },
  {
    path: 'mistral/ollama-tests/parse-ministral.json',
    thinking: bracketed,
    format: 'mistral-args',
    read: (given) =>
      given.steps === undefined ? undefined : { ...stepped(given, objectCall), begun: given.think === true },
  },
  {
    path: 'qwen3/ollama-tests/parse-qwen3vl-thinking.json',
    thinking: think,
    format: 'hermes',
    read(given) {
      if (given.steps === undefined) return undefined;
      const begun = given.prefillMsg === undefined && !given.test.includes('NonThinkingPrefill');
      return { ...stepped(given, objectCall), begun };
    },
  },
  {
    path: 'qwen3_5/ollama-tests/parse-qwen38.json',
    thinking: think,
    format: 'qwen3.5',
    read: (given) => ({ text: whole(given), begun: true, ...stated(given) }),
  },
  {
    path: 'qwen3_5/ollama-tests/parse-qwen3coder-xml.json',
    thinking: undefined,
    format: 'qwen3.5',
    read(given) {
      if (given.steps !== undefined) return stepped(given, (name) => `<function=${name}>\n</function>`);
      if (given.paramType === undefined) return undefined;
      const [type, ...more] = given.paramType;
      const typed = type === undefined ? {} : { type: more.length === 0 ? type : given.paramType };
      return {
        text: `<tool_call>\n<function=f>\n<parameter=p>${given.raw}</parameter>\n</function>\n</tool_call>`,
        functions: [{ name: 'f', parameters: { type: 'object', properties: { p: typed } } }],
        calls: [{ name: 'f', json: JSON.stringify({ p: given.want ?? null }) }],
      };
    },
  },
  {
    path: 'olmo_hybrid/ollama-tests/parse-olmo3.json',
    thinking: undefined,
    format: 'olmo3',
    read(given) {
      if (given.test !== 'TestParseOlmo3FunctionCalls') return { text: whole(given), ...stated(given) };
      const calls = typeof given.expected === 'object' ? callsOf(given.expected) : [];
      return { text: `<function_calls>${whole(given)}</function_calls>`, calls };
    },
  },
  {
    path: 'gemma3/ollama-tests/parse-functiongemma.json',
    thinking: undefined,
    format: 'function-gemma',
    read: (given) => ({ text: whole(given), ...stated(given) }),
  },
  {
    path: 'gemma3/ollama-tests/parse-gemma4.json',
    thinking: channel,
    format: 'gemma4',
    read(given) {
      if (given.test === 'TestGemma4ArgsToJSON' && typeof given.expected === 'string') {
        return { text: `<|tool_call>call:f${whole(given)}<tool_call|>`, calls: [{ name: 'f', json: given.expected }] };
      }
      if (!given.test.startsWith('TestGemma4Parser')) return undefined;
      const { calls, ...rest } = stated(given);
      // Thoughts that nobody asked for are left out there, and calls of some tests are not stated.
      const isAsked = given.thinkingEnabled !== false;
      const isStated = !given.test.includes('Ignores');
      return { text: whole(given), ...rest, ...(!isAsked && { thoughts: undefined }), ...(isStated && { calls }) };
    },
  },
];

/** Cases of Ollama's tests. */
export function ollamaCases(folder: string): AnswerCase[] {
  return ollamaSources.flatMap((source) => {
    const { path, thinking, format } = source;
    const { tests } = ollamaSchema.parse(readJson(folder, path));
    const title = /parse-[^.]*/.exec(path)?.[0] ?? path;
    return tests.flatMap((given) => {
      const answer = source.read(given);
      if (answer === undefined) return [];
      const name = `${title} ${given.name ?? given.desc ?? given.test}`;
      return [{ ...plain, name, thinking, tools: toolFormatNamed(format), ...answer }];
    });
  });
}
