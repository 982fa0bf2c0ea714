/** POST /v1/chat/completions: answers to messages, by the model's chat template. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { PlacedScore } from '../../../engine/text/score-stream.ts';
import { chatMessages, chatPrompt, messageSchema } from '../chat-messages.ts';
import { perLimits } from '../limits.ts';
import { answerTokens, type Serving } from '../request-context.ts';
import { maybe, some } from '../request-fields.ts';
import { refuse } from '../api-error.ts';
import { type AnswerFold, type Dialect, finishOf, type TextRecord, usageOf, visibleScores } from './dialect.ts';
import { openAiFraming } from './event-stream.ts';
import { openAiParts, timingsOf } from './progress.ts';
import { chatLogprobs } from './scores.ts';
import { commonRefusals, jobOf, onSession, textFields, toolRefusals } from './text-fields.ts';

const variableValue = z.union([z.string().max(4096), z.number(), z.boolean(), z.null()]);

const schema = perLimits((limits) =>
  z.object({
    ...textFields(limits),
    messages: z.array(messageSchema).min(1).max(limits.messages),
    max_tokens: maybe(z.int().min(1).max(limits.maxTokens)),
    max_completion_tokens: maybe(z.int().min(1).max(limits.maxTokens)),
    logprobs: maybe(z.boolean()),
    top_logprobs: maybe(z.int().min(0).max(limits.logprobs)),
    add_generation_prompt: maybe(z.boolean()),
    chat_template_kwargs: maybe(z.record(z.string().max(64), variableValue)),
  }),
);

type Fields = z.output<ReturnType<typeof schema>>;

export const chatCompletions: Dialect<Fields> = {
  summary: 'Answers messages',
  body: schema,
  refusals: {
    ...commonRefusals,
    ...toolRefusals,
    audio: some,
    prediction: some,
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
    const messages = {
      messages: chatMessages(fields.messages),
      addGenerationPrompt: fields.add_generation_prompt,
      variables: fields.chat_template_kwargs,
    };
    const prompt = await chatPrompt(serving, messages, at.request.abort.signal);
    const asked = fields.max_completion_tokens ?? fields.max_tokens ?? answerTokens(serving);
    const make = () => jobOf(fields, at, prompt, { asked, text: logprobs ? top : undefined });
    // A client sends all messages, as ever; the session holds the state of those that it has seen.
    const { job, kept } =
      fields.session_id === undefined ? { job: make(), kept: undefined } : await onSession(fields, at, make);
    return { jobs: [job], kept, answer: ([record]) => answerOf(fields, serving, record) };
  },
};

function answerOf(fields: Fields, serving: Serving, record: TextRecord): AnswerFold {
  const { pieces } = serving.model;
  const shared = openAiParts(fields, serving, [record]);
  const { names, idsOf } = shared;
  const head = { id: `chatcmpl-${randomUUID()}`, ...shared.identity };
  const chunkHead = { ...head, object: 'chat.completion.chunk' };
  const logprobs = (scores: readonly PlacedScore[]) =>
    fields.logprobs === true ? chatLogprobs(scores, names, pieces) : null;
  const promptIds = shared.promptIds(record);
  const timings = () => (record.ended === undefined ? {} : timingsOf(record, record.ended));
  return {
    chunks(piece) {
      if (piece.type === 'progress') return shared.progress(chunkHead, piece.event);
      const linnet = shared.insight(piece);
      const chunk = (index: number, delta: object, rest: object, more: object = linnet): object => ({
        ...chunkHead,
        choices: [{ index, delta, logprobs: null, finish_reason: null, ...rest }],
        ...shared.usage(),
        ...more,
      });
      if (piece.type === 'prompt') {
        const delta = { role: 'assistant', content: null };
        return record.choices.map(({ index }) => chunk(index, delta, {}, { ...linnet, ...promptIds }));
      }
      const { choice } = piece;
      if (piece.type === 'text') {
        const { text, scores, tokens } = piece.event;
        return [chunk(choice.index, { content: text }, { logprobs: logprobs(scores), ...idsOf(tokens) })];
      }
      const rest = visibleScores(choice).slice(choice.scores.length);
      const last = chunk(choice.index, {}, { finish_reason: finishOf(piece.event), ...idsOf(piece.tokens) });
      if (rest.length === 0 || fields.logprobs !== true) return [last];
      return [chunk(choice.index, { content: '' }, { logprobs: logprobs(rest) }, {}), last];
    },
    last: () => shared.last(chunkHead, { timings: timings() }),
    whole: () => ({
      ...head,
      ...promptIds,
      object: 'chat.completion',
      choices: record.choices.map((choice) => ({
        index: choice.index,
        message: { role: 'assistant', content: choice.text, refusal: null },
        logprobs: logprobs(visibleScores(choice)),
        finish_reason: choice.end === undefined ? 'stop' : finishOf(choice.end),
        ...idsOf(choice.tokens),
      })),
      usage: usageOf([record]),
      timings: timings(),
      ...shared.promptScores(record),
    }),
  };
}
