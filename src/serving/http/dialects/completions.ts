/** POST /v1/completions: texts that continue prompts. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { PlacedScore } from '../../../engine/text/scores.ts';
import type { ServerLimits } from '../limits.ts';
import type { Serving } from '../request-context.ts';
import { maybe, optionalFlag, refuse, some, tokenId } from '../request-fields.ts';
import type { AnswerFold, Dialect } from './dialect.ts';
import { openAiFraming } from './event-stream.ts';
import {
  completionLogprobs,
  type CompletionScore,
  openAiParts,
  promptLogprobs,
  textOffsets,
  finishOf,
  usageOf,
} from './answer-parts.ts';
import type { TextRecord } from './records.ts';
import { commonRefusals, sessionTurn, textFields, askedText } from './text-fields.ts';
import { whole } from '../../../files/schema-values.ts';

function schema(limits: ServerLimits) {
  const ids = z.array(tokenId).max(limits.promptTokens);
  return z.object({
    ...textFields(limits),
    prompt: maybe(
      z.union([z.string(), ids, z.array(z.string()).max(limits.prompts), z.array(ids).max(limits.prompts)], {
        error: `expected a text, token ids, or up to ${limits.prompts} of either`,
      }),
    ),
    max_tokens: maybe(whole(0, limits.maxTokens)),
    logprobs: maybe(whole(0, limits.logprobs)),
    echo: optionalFlag,
    add_special_tokens: optionalFlag,
  });
}

type Fields = z.output<ReturnType<typeof schema>>;

export const completions: Dialect<Fields> = {
  summary: 'Continues prompts',
  body: schema,
  refusals: { ...commonRefusals, tools: some },
  framing: openAiFraming,
  async ask(fields, at) {
    const { serving } = at;
    const { max_tokens: asked = 16, echo = false, logprobs } = fields;
    if (asked === 0 && !echo) refuse('"max_tokens" may be 0 only with "echo"', 'max_tokens');
    if (serving.model.decoder.cross !== undefined) checkSourceFields(fields);
    const prompts = promptsOf(fields);
    const turn = await sessionTurn(fields, at);
    if (turn !== undefined && (prompts.length !== 1 || (echo && logprobs !== undefined))) {
      refuse('a session takes one prompt, without its log-probabilities', 'session_id');
    }
    const bos = turn === undefined && fields.add_special_tokens === false ? false : undefined;
    const request = { asked, text: logprobs, prompt: echo ? logprobs : undefined, bos, session: turn?.session };
    const texts = await Promise.all(
      prompts.map((prompt, place) => {
        const input = typeof prompt === 'string' ? { text: prompt } : { tokens: prompt };
        return askedText(fields, at, input, { ...request, place });
      }),
    );
    return { texts, keep: turn?.keep, answer: answerOf(fields, serving, texts) };
  },
};

function checkSourceFields(fields: Fields): void {
  for (const name of ['echo', 'session_id', 'prompt_logprobs'] as const) {
    if (fields[name] === undefined || fields[name] === false) continue;
    refuse(`this model is an encoder-decoder, which does not support "${name}"; leave it out`, name);
  }
}

function promptsOf({ prompt = '' }: Fields): readonly (string | readonly number[])[] {
  const list = typeof prompt === 'string' || isNumbers(prompt) ? [prompt] : prompt;
  if (list.length === 0) refuse('there is no prompt', 'prompt');
  return list;
}

function isNumbers(prompt: readonly unknown[]): prompt is readonly number[] {
  return prompt.length > 0 && prompt.every((one) => typeof one === 'number');
}

function answerOf(fields: Fields, serving: Serving, records: readonly TextRecord[]): AnswerFold {
  const { model } = serving;
  const { echo = false, return_token_ids: withIds = false, prompt_logprobs: promptTop } = fields;
  const shared = openAiParts(fields, serving, records);
  const { names } = shared;
  const head = { id: `cmpl-${randomUUID()}`, object: 'text_completion', ...shared.identity };
  const echoed = ({ prompt }: TextRecord): string => (echo ? model.tokenizer.decode(prompt) : '');
  /** @param withPrompt whether to include the scores of an echoed prompt */
  const logprobs = (record: TextRecord, scores: readonly PlacedScore[], withPrompt = false) => {
    if (fields.logprobs === undefined) return null;
    const { prompt } = record;
    const start = echoed(record).length;
    const placed: CompletionScore[] = scores.map((score) => ({ ...score, offset: start + score.offset }));
    if (!withPrompt || !echo) return completionLogprobs(placed, names);
    const offsets = textOffsets(prompt, model.tokenizer);
    const before = record.scores.map((score, i) => {
      return { ...score, top: score.top.slice(0, fields.logprobs), offset: offsets[i + 1] };
    });
    return completionLogprobs([{ token: prompt[0], offset: 0 }, ...before, ...placed], names);
  };
  /** A text that ends with the prompt. */
  const finishBefore = ({ job }: TextRecord) => (job.maxTokens === 0 ? 'length' : null);
  return {
    chunks(piece) {
      const { record } = piece;
      const chunk = (choice: object): object => ({
        ...head,
        choices: [choice],
        ...shared.usage(),
        ...shared.insight(piece),
      });
      if (piece.type === 'prompt') {
        const progress = shared.progress(head, piece.event);
        if (piece.event.done < piece.event.total || !(echo || withIds)) return progress;
        const scores = echo ? logprobs(record, [], true) : null;
        const ids = withIds && { prompt_token_ids: record.prompt, token_ids: [] };
        const rest = { text: echoed(record), logprobs: scores, finish_reason: finishBefore(record), ...ids };
        return [...progress, ...record.choices.map(({ index }) => chunk({ index, ...rest }))];
      }
      const { index } = piece.choice;
      const tokens = piece.type === 'text' ? piece.event.tokens : piece.tokens;
      const common = { index, logprobs: logprobs(record, piece.event.scores), ...(withIds && { token_ids: tokens }) };
      if (piece.type === 'text') return [chunk({ ...common, text: piece.event.text, finish_reason: null })];
      return [chunk({ ...common, text: '', finish_reason: finishOf(piece.event) })];
    },
    last: () => shared.last(head),
    whole() {
      const choices: object[] = [];
      for (const record of records) {
        for (const { index, text, scores, tokens, end } of record.choices) {
          choices.push({
            index,
            text: echoed(record) + text,
            logprobs: logprobs(record, [...scores, ...(end?.scores ?? [])], true),
            finish_reason: end === undefined ? finishBefore(record) : finishOf(end),
            ...(withIds && { prompt_token_ids: record.prompt, token_ids: tokens }),
            ...(promptTop !== undefined && { prompt_logprobs: promptLogprobs(record.scores, promptTop, names) }),
          });
        }
      }
      return { ...head, choices, usage: usageOf(records) };
    },
  };
}
