/** POST /v1/chat/completions: answers to messages, by the model's chat template. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { EndEvent } from '../../../engine/text-job.ts';
import type { PlacedScore } from '../../../engine/text/scores.ts';
import { chatCall, chatInput, chatMessages, chatTool, messagesField, templateVariables } from '../chat-messages.ts';
import type { ServerLimits } from '../limits.ts';
import { answerTokens, type Serving } from '../request-context.ts';
import { maybe, optionalFlag, refuse, some } from '../request-fields.ts';
import type { AnswerFold, Dialect } from './dialect.ts';
import { openAiFraming } from './event-stream.ts';
import {
  chatLogprobs,
  openAiParts,
  promptLogprobs,
  timingsOf,
  finishOf,
  usageOf,
  visibleScores,
} from './answer-parts.ts';
import type { ChoiceRecord, TextRecord } from './records.ts';
import { commonRefusals, jsonSchemaOf, sessionTurn, textFields, askedText } from './text-fields.ts';
import type { CalledAnswer, CalledPart } from '../../../engine/tools/call-reader.ts';
import {
  allowedFields,
  answerTo,
  type Calling,
  callingOf,
  effortField,
  effortOf,
  toolFields,
  type ToolRequest,
} from './tool-fields.ts';
import { whole } from '../../../files/schema-values.ts';

const namedTool = z.object({ type: z.literal('function'), function: z.object({ name: z.string().max(64) }) });

const schema = (limits: ServerLimits) =>
  z.object({
    ...textFields(limits),
    messages: messagesField(limits),
    max_tokens: maybe(whole(1, limits.maxTokens)),
    max_completion_tokens: maybe(whole(1, limits.maxTokens)),
    logprobs: optionalFlag,
    top_logprobs: maybe(whole(0, limits.logprobs)),
    add_generation_prompt: optionalFlag,
    reasoning_effort: effortField,
    chat_template_kwargs: templateVariables,
    ...toolFields(
      chatTool,
      namedTool,
      z.object({ type: z.literal('allowed_tools'), allowed_tools: z.object(allowedFields(namedTool)) }),
    ),
  });

type Fields = z.output<ReturnType<typeof schema>>;

function choiceOf(choice: Fields['tool_choice']): ToolRequest['choice'] {
  if (typeof choice !== 'object') return choice;
  if (choice.type === 'function') return choice.function;
  const { mode, tools } = choice.allowed_tools;
  return { mode, tools: tools.map((tool) => tool.function) };
}

export const chatCompletions: Dialect<Fields> = {
  summary: 'Answers messages',
  body: schema,
  refusals: {
    ...commonRefusals,
    functions: some,
    audio: some,
    web_search_options: some,
    echo: (value) => value === true,
    continue_final_message: (value) => value === true,
    modalities: (value) => some(value) && JSON.stringify(value) !== '["text"]',
  },
  framing: openAiFraming,
  async ask(fields, at) {
    const { serving } = at;
    const { logprobs = false, top_logprobs: top = 0 } = fields;
    if (top > 0 && !logprobs) refuse('"top_logprobs" needs "logprobs"', 'top_logprobs');
    const { tool_choice: choice, parallel_tool_calls: parallel } = fields;
    const calling = callingOf(serving, {
      tools: fields.tools?.map((tool) => tool.function),
      choice: choiceOf(choice),
      parallel,
      schema: jsonSchemaOf(fields)?.schema,
    });
    const effort = effortOf(fields.reasoning_effort);
    const messages = {
      messages: chatMessages(fields.messages),
      addGenerationPrompt: fields.add_generation_prompt,
      variables: { ...effort.variables, ...fields.chat_template_kwargs },
      // The client sends all messages; the session holds the state of the ones it has seen.
      isWhole: true,
    };
    const input = chatInput(serving, messages, calling?.tools);
    const turn = await sessionTurn(fields, at);
    const asked = fields.max_completion_tokens ?? fields.max_tokens ?? answerTokens(serving);
    const request = {
      asked,
      text: logprobs ? top : undefined,
      ...calling?.held,
      session: turn?.session,
      thinkingBudget: effort.thinkingBudget,
    };
    const text = await askedText(fields, at, input, request);
    return { texts: [text], keep: turn?.keep, answer: answerOf(fields, serving, text, calling) };
  },
};

function finishReason({ calls, isCut }: CalledAnswer, end: EndEvent): string {
  const finish = finishOf(end);
  return finish === 'stop' && calls.length > 0 && !isCut ? 'tool_calls' : finish;
}

function messageOf({ content, thoughts, calls }: CalledAnswer): object {
  const said = { role: 'assistant', content, refusal: null, reasoning_content: thoughts || undefined };
  if (calls.length === 0) return said;
  return { ...said, content: content || null, tool_calls: calls.map(chatCall) };
}

/** A part of an answer as a delta of a stream. */
function deltaOf(part: CalledPart): object {
  if (part.type === 'text') return { content: part.text };
  if (part.type === 'thought') return { reasoning_content: part.text };
  if (part.type === 'call') return { tool_calls: [{ index: part.index, ...chatCall({ ...part.call, json: '' }) }] };
  return { tool_calls: [{ index: part.index, function: { arguments: part.json } }] };
}

function answerOf(fields: Fields, serving: Serving, record: TextRecord, calling: Calling | undefined): AnswerFold {
  const shared = openAiParts(fields, serving, [record]);
  const { names } = shared;
  const { return_token_ids: withIds = false, prompt_logprobs: promptTop } = fields;
  const head = { id: `chatcmpl-${randomUUID()}`, ...shared.identity };
  const chunkHead = { ...head, object: 'chat.completion.chunk' };
  const logprobs = (scores: readonly PlacedScore[]) =>
    fields.logprobs === true ? chatLogprobs(scores, names, serving.model.pieces) : null;
  const promptIds = withIds && { prompt_token_ids: record.prompt };
  const answers = record.choices.map(() => answerTo(record, calling));
  const told = record.choices.map(() => ({ scores: 0, tokens: 0 }));
  const idsOf = ({ index, tokens }: ChoiceRecord) => withIds && { token_ids: tokens.slice(told[index].tokens) };
  const timings = () => (record.ended === undefined ? {} : timingsOf(record, record.ended));
  return {
    chunks(piece) {
      const linnet = shared.insight(piece);
      const chunk = (index: number, delta: object, rest: object, more: object = linnet): object => ({
        ...chunkHead,
        choices: [{ index, delta, logprobs: null, finish_reason: null, ...rest }],
        ...shared.usage(),
        ...more,
      });
      if (piece.type === 'prompt') {
        const progress = shared.progress(chunkHead, piece.event);
        if (piece.event.done < piece.event.total) return progress;
        const delta = { role: 'assistant', content: null };
        const begun = record.choices.map(({ index }) => chunk(index, delta, {}, { ...linnet, ...promptIds }));
        return [...progress, ...begun];
      }
      const { choice } = piece;
      const answer = answers[choice.index];
      /** Parts as chunks; the first tells the tokens since the last one. */
      const tell = (parts: readonly CalledPart[], scores: readonly PlacedScore[], more?: object): object[] => {
        const deltas = parts.length === 0 ? [{ content: '' }] : parts.map(deltaOf);
        const about = { logprobs: logprobs(scores.slice(told[choice.index].scores)), ...idsOf(choice) };
        told[choice.index] = { scores: scores.length, tokens: choice.tokens.length };
        return deltas.map((delta, place) => chunk(choice.index, delta, place === 0 ? about : {}, more));
      };
      if (piece.type === 'text') {
        const parts = answer.push(piece.event.text);
        // Text held back because it may begin a call.
        return parts.length === 0 && !('linnet' in linnet) ? [] : tell(parts, choice.scores);
      }
      const parts = answer.end();
      const scores = visibleScores(choice);
      const hasNews = parts.length > 0 || (fields.logprobs === true && scores.length > told[choice.index].scores);
      const held = hasNews ? tell(parts, scores, {}) : [];
      const finish_reason = finishReason(answer, piece.event);
      return [...held, chunk(choice.index, {}, { finish_reason, ...idsOf(choice) })];
    },
    last: () => shared.last(chunkHead, { timings: timings() }),
    whole: () => ({
      ...head,
      ...promptIds,
      object: 'chat.completion',
      choices: record.choices.map((choice) => {
        const answer = answers[choice.index];
        answer.push(choice.text);
        answer.end();
        return {
          index: choice.index,
          message: messageOf(answer),
          logprobs: logprobs(visibleScores(choice)),
          finish_reason: choice.end === undefined ? 'stop' : finishReason(answer, choice.end),
          ...(withIds && { token_ids: choice.tokens }),
        };
      }),
      usage: usageOf([record]),
      timings: timings(),
      ...(promptTop !== undefined && { prompt_logprobs: promptLogprobs(record.scores, promptTop, names) }),
    }),
  };
}
