/** A language model as the AI SDK asks for it: one runner, whose jobs share the states of earlier prompts. */
import type {
  LanguageModelV3,
  LanguageModelV3CallOptions,
  LanguageModelV3Content,
  LanguageModelV3FinishReason,
  LanguageModelV3GenerateResult,
  LanguageModelV3Message,
  LanguageModelV3StreamPart,
  LanguageModelV3StreamResult,
  LanguageModelV3ToolChoice,
  LanguageModelV3ToolResultPart,
  LanguageModelV3Usage,
  SharedV3Warning,
} from '@ai-sdk/provider';
import type { SamplerInput } from '../decoding/sampler.ts';
import { type DrafterName, drafters } from '../decoding/speculation/drafters/registry.ts';
import type { Runner } from '../engine/runner.ts';
import { PrefixCache } from '../engine/text/prefix-cache.ts';
import type { EndEvent, TextJob } from '../engine/text-job.ts';
import { CalledAnswer, type CalledPart, type MadeCall } from '../engine/tools/call-reader.ts';
import { ToolCalls } from '../engine/tools/tool-calls.ts';
import type { ToolFunction } from '../engine/tools/tool-formats.ts';
import { toldThoughts, withTools } from '../engine/tools/tool-messages.ts';
import { internalError, LinnetError } from '../errors.ts';
import { requireCount, requireOneOf } from '../files/arguments.ts';
import type { OpenOptions } from '../open/index.ts';
import type { LanguageModel } from '../open/language-model.ts';
import type { ChatMessage } from '../tokenizer/chat-template.ts';
import { TextMemory } from '../tokenizer/text-memory.ts';
import { OpenedOnce } from './opened-once.ts';

/** How a model is opened, with its limits. */
export interface LinnetSettings extends OpenOptions {
  /** Name of the format in which calls of functions are written. Default: by the chat template. */
  readonly toolFormat?: string;
  /** Bytes of states kept between calls. Default 256 MiB. */
  readonly cacheBytes?: number;
  /** Texts at a time; others wait. Default 4. */
  readonly parallel?: number;
  /** Most tokens of an answer that names no limit. Default 1024. */
  readonly maxOutputTokens?: number;
}

type Limit = 'cacheBytes' | 'parallel' | 'maxOutputTokens';

/** The parts of an opened model that calls share. */
interface Ready {
  readonly model: LanguageModel;
  /** Tokens of earlier messages, which every call sends again. */
  readonly memory: TextMemory;
  readonly runner: Runner;
  readonly calls: ToolCalls;
}

export class LinnetLanguageModel extends OpenedOnce implements LanguageModelV3 {
  readonly supportedUrls = {};
  readonly #settings: Pick<LinnetSettings, 'toolFormat'> & Record<Limit, number>;
  #ready: { readonly model: LanguageModel; readonly parts: Promise<Ready> } | undefined;

  /** @throws LinnetError `INPUT` for limits that are not whole numbers of at least 1 */
  constructor(source: string, { toolFormat, ...settings }: LinnetSettings) {
    const { cacheBytes = 256 << 20, parallel = 4, maxOutputTokens = 1024, ...options } = settings;
    const limits = { cacheBytes, parallel, maxOutputTokens };
    for (const [name, value] of Object.entries(limits)) requireCount(value, name);
    super(source, options);
    this.#settings = { toolFormat, ...limits };
  }

  /**
   * @throws LinnetError as `linnet`; `INPUT` for prompts that are too long or have files, tools that an answer cannot be held
   *   to, and the choice of a tool that is not given; by the signal its reason
   */
  async doGenerate(options: LanguageModelV3CallOptions): Promise<LanguageModelV3GenerateResult> {
    const content: LanguageModelV3Content[] = [];
    const result: Pick<LanguageModelV3GenerateResult, 'warnings'> = { warnings: [] };
    let text = '';
    for await (const part of this.#parts(options)) {
      if (part.type === 'text-delta' || part.type === 'reasoning-delta') text += part.delta;
      else if (part.type === 'text-start' || part.type === 'reasoning-start') text = '';
      else if (part.type === 'text-end') content.push({ type: 'text', text });
      else if (part.type === 'reasoning-end') content.push({ type: 'reasoning', text });
      else if (part.type === 'tool-call') content.push(part);
      else if (part.type === 'stream-start') result.warnings = part.warnings;
      else if (part.type === 'finish') {
        const { usage, finishReason } = part;
        return { ...result, content, usage, finishReason, response: { modelId: this.modelId } };
      }
    }
    throw internalError('an answer without an end');
  }

  /** @throws LinnetError as `doGenerate`, before the stream if possible */
  async doStream(options: LanguageModelV3CallOptions): Promise<LanguageModelV3StreamResult> {
    const cancelled = new AbortController();
    const signals = [cancelled.signal, ...(options.abortSignal === undefined ? [] : [options.abortSignal])];
    const parts = this.#parts({ ...options, abortSignal: AbortSignal.any(signals) });
    let next: Promise<IteratorResult<LanguageModelV3StreamPart, void>> | undefined = parts.next();
    await next;
    const stream = new ReadableStream<LanguageModelV3StreamPart>({
      async pull(controller) {
        const { done, value } = await (next ?? parts.next());
        next = undefined;
        if (done === true) controller.close();
        else controller.enqueue(value);
      },
      async cancel(reason) {
        // A text that waits for its turn gives no part at which it could end.
        cancelled.abort(reason);
        await parts.return();
      },
    });
    return { stream };
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    const ready = this.#ready;
    this.#ready = undefined;
    // Callers get a failure to start.
    await (await ready?.parts.catch(() => undefined))?.runner.close();
    await super[Symbol.asyncDispose]();
  }

  async #open(): Promise<Ready> {
    const model = await this.model();
    // Disposal may have come while the model was opened: the next call opens another.
    if (this.#ready?.model !== model) this.#ready = { model, parts: this.#start(model) };
    return await this.#ready.parts;
  }

  async #start(model: LanguageModel): Promise<Ready> {
    const { toolFormat, cacheBytes, parallel } = this.#settings;
    const calls = new ToolCalls(model, toolFormat);
    const prefixes = new PrefixCache(cacheBytes);
    const runner = await model.runner({ parallel, maxQueue: Infinity, prefixes });
    return { model, memory: new TextMemory(), runner, calls };
  }

  async *#parts(options: LanguageModelV3CallOptions): AsyncGenerator<LanguageModelV3StreamPart, void, undefined> {
    options.abortSignal?.throwIfAborted();
    const { model, memory, runner, calls } = await this.#open();
    const { tools, warnings } = toolsOf(options);
    const { responseFormat: format, toolChoice: choice = { type: 'auto' } } = options;
    const schema = format?.type === 'json' ? (format.schema ?? { type: 'object' }) : undefined;
    const callable = choice.type === 'tool' ? tools.filter(({ name }) => name === choice.toolName) : tools;
    const mayCall = choice.type !== 'none' && callable.length > 0;
    const required = choice.type === 'required' || choice.type === 'tool';
    if (required && !mayCall) throw noTool(choice, tools);
    const parallel = choice.type !== 'tool' && options.providerOptions?.linnet?.parallelToolCalls !== false;
    const messages = { messages: chatMessagesOf(options.prompt), memory };
    const job = model.session().job(withTools(messages, calls.format, mayCall ? tools : []), {
      ...samplingOf(options),
      penalizes: 'answer',
      maxTokens: options.maxOutputTokens ?? this.#settings.maxOutputTokens,
      stop: options.stopSequences,
      speculate: drafterOf(options),
      signal: options.abortSignal,
      ...(mayCall ? calls.held({ tools: callable, required, parallel, schema }) : { jsonSchema: schema }),
    });
    const maxTokens = Math.min(job.maxTokens, positionsLeft(model, job));
    yield { type: 'stream-start', warnings };
    yield { type: 'response-metadata', modelId: this.modelId, timestamp: new Date() };
    const { thinking } = job;
    const answer = new CalledAnswer(
      mayCall ? calls.reader({ tools, schema }) : undefined,
      thinking?.reader(job.prompt.tokens),
    );
    const told = new ToldParts();
    let cached = 0;
    let ended: EndEvent | undefined;
    for await (const event of runner.submit({ ...job, maxTokens })) {
      if (event.type === 'prompt') ({ cached } = event);
      else if (event.type === 'tokens') for (const part of answer.push(event.text)) yield* told.of(part);
      else ended = event;
    }
    options.abortSignal?.throwIfAborted();
    if (ended === undefined) throw internalError('a text without an end');
    for (const part of answer.end()) yield* told.of(part);
    yield* told.end(!answer.isCut);
    const thoughts = thinking?.count(job.prompt.tokens, ended.generation.tokens);
    yield { type: 'finish', usage: usageOf(ended, cached, thoughts), finishReason: finishOf(ended, answer) };
  }
}

/** The parts of a stream that tell of an answer: thoughts, each text and each call have a beginning and an end. */
class ToldParts {
  #open: 'thought' | 'text' | MadeCall | undefined;

  *of(part: CalledPart): Generator<LanguageModelV3StreamPart, void, undefined> {
    if (part.type === 'thought' || part.type === 'text') {
      if (part.text === '') return;
      const kind = part.type === 'text' ? 'text' : 'reasoning';
      if (this.#open !== part.type) {
        yield* this.end(true);
        yield { type: `${kind}-start`, id: '0' };
      }
      this.#open = part.type;
      yield { type: `${kind}-delta`, id: '0', delta: part.text };
    } else if (part.type === 'call') {
      yield* this.end(true);
      this.#open = part.call;
      yield { type: 'tool-input-start', id: part.call.callId, toolName: part.call.name };
    } else yield { type: 'tool-input-delta', id: part.call.callId, delta: part.json };
  }

  /** @param isWhole whether an open call has all its arguments */
  *end(isWhole: boolean): Generator<LanguageModelV3StreamPart, void, undefined> {
    const open = this.#open;
    this.#open = undefined;
    if (open === undefined) return;
    if (open === 'text' || open === 'thought') {
      yield { type: open === 'text' ? 'text-end' : 'reasoning-end', id: '0' };
      return;
    }
    const { callId, name, json } = open;
    yield { type: 'tool-input-end', id: callId };
    if (isWhole) yield { type: 'tool-call', toolCallId: callId, toolName: name, input: json };
  }
}

/** @throws LinnetError `INPUT` for a prompt after which there is no place for a token */
function positionsLeft({ decoder }: LanguageModel, { prompt }: TextJob): number {
  const { length } = prompt.tokens;
  const { limit } = decoder.positions;
  if (length < limit) return limit - length;
  throw new LinnetError(
    'INPUT',
    `the prompt has ${length} tokens; the model has ${limit} positions for prompt and answer together: shorten it`,
  );
}

function noTool(choice: LanguageModelV3ToolChoice, tools: readonly ToolFunction[]): LinnetError {
  const asked = choice.type === 'tool' ? `the tool "${choice.toolName.slice(0, 64)}"` : 'some tool';
  const given = tools.map(({ name }) => name).join(', ') || 'none that this model can call';
  return new LinnetError('INPUT', `toolChoice asks for ${asked}, but the tools given are: ${given}`);
}

function toolsOf({ tools = [] }: LanguageModelV3CallOptions): { tools: ToolFunction[]; warnings: SharedV3Warning[] } {
  const functions: ToolFunction[] = [];
  const warnings: SharedV3Warning[] = [];
  for (const tool of tools) {
    if (tool.type === 'function') {
      const { name, description, inputSchema } = tool;
      functions.push({ name, description, parameters: { ...inputSchema } });
    } else warnings.push({ type: 'unsupported', feature: `the tool ${tool.id}, which another provider runs` });
  }
  return { tools: functions, warnings };
}

function samplingOf({
  temperature,
  topP,
  topK,
  presencePenalty,
  frequencyPenalty,
  seed,
}: LanguageModelV3CallOptions): SamplerInput {
  const random = Math.floor(2 ** 32 * Math.random());
  return { temperature, topP, topK, presencePenalty, frequencyPenalty, seed: seed ?? random };
}

/** @throws LinnetError `INPUT` for an unknown drafter */
function drafterOf({ providerOptions }: LanguageModelV3CallOptions): DrafterName | undefined {
  const given = providerOptions?.linnet?.speculate;
  requireOneOf(given, 'providerOptions.linnet.speculate', drafters);
  return drafters.find((name) => name === given);
}

function usageOf({ generation }: EndEvent, cached: number, thoughts: number | undefined): LanguageModelV3Usage {
  const { promptTokens: total, tokens } = generation;
  return {
    inputTokens: { total, noCache: total - cached, cacheRead: cached, cacheWrite: undefined },
    outputTokens: { total: tokens.length, text: tokens.length - (thoughts ?? 0), reasoning: thoughts },
  };
}

function finishOf({ generation }: EndEvent, { calls, isCut }: CalledAnswer): LanguageModelV3FinishReason {
  const raw = generation.finish;
  if (raw === 'length') return { unified: 'length', raw };
  return { unified: calls.length > 0 && !isCut ? 'tool-calls' : 'stop', raw };
}

/** Prompts as messages of a chat. @throws LinnetError `INPUT` for files, which no model here reads */
function chatMessagesOf(prompt: readonly LanguageModelV3Message[]): ChatMessage[] {
  return prompt.flatMap((message): ChatMessage[] => {
    if (message.role === 'system') return [{ role: 'system', content: message.content }];
    if (message.role === 'tool') {
      return message.content.flatMap((part) => (part.type === 'tool-result' ? [resultMessage(part)] : []));
    }
    let [content, thoughts] = ['', ''];
    const calls: object[] = [];
    for (const part of message.content) {
      if (part.type === 'text') content += part.text;
      else if (part.type === 'reasoning') thoughts += part.text;
      else if (part.type === 'tool-call') {
        calls.push({ id: part.toolCallId, type: 'function', function: { name: part.toolName, arguments: part.input } });
      } else if (part.type === 'file')
        throw new LinnetError('INPUT', `the model reads no files, as of ${part.mediaType}`);
    }
    return [{ role: message.role, content, ...toldThoughts(thoughts), ...(calls.length > 0 && { tool_calls: calls }) }];
  });
}

function resultMessage({ toolCallId, toolName, output }: LanguageModelV3ToolResultPart): ChatMessage {
  return { role: 'tool', name: toolName, tool_call_id: toolCallId, content: resultText(output) };
}

function resultText(output: LanguageModelV3ToolResultPart['output']): string {
  if (output.type === 'text' || output.type === 'error-text') return output.value;
  if (output.type === 'json' || output.type === 'error-json') return JSON.stringify(output.value);
  if (output.type === 'execution-denied') return output.reason ?? 'the call was not allowed';
  return output.value.map((part) => (part.type === 'text' ? part.text : `[${part.type}]`)).join('');
}
