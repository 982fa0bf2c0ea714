/** POST /v1/completions: texts that continue prompts. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { preparePrompt, type PromptInput, type PromptOptions } from '../../../engine/prompt.ts';
import type { TextJob } from '../../../engine/text-job.ts';
import { whenEncoded } from '../../../tokenizer/later-encoding.ts';
import { refuse } from '../api-error.ts';
import type { ServerLimits } from '../limits.ts';
import type { Serving } from '../request-context.ts';
import { checkTokens, maybe, some, tokenId } from '../request-fields.ts';
import { type AnswerFold, type ChoiceRecord, type Dialect, finishOf, type TextRecord, usageOf } from './dialect.ts';
import { openAiFraming } from './event-stream.ts';
import { openAiParts } from './progress.ts';
import { completionLogprobs, type CompletionScore, textOffsets } from './scores.ts';
import { commonRefusals, jobOf, onSession, textFields } from './text-fields.ts';

function schema(limits: ServerLimits) {
  const ids = z.array(tokenId).max(limits.promptTokens);
  return z.object({
    ...textFields(limits),
    prompt: maybe(
      z.union([z.string(), ids, z.array(z.string()).max(limits.prompts), z.array(ids).max(limits.prompts)], {
        error: `expected a text, token ids, or up to ${limits.prompts} of either`,
      }),
    ),
    max_tokens: maybe(z.int().min(0).max(limits.maxTokens)),
    logprobs: maybe(z.int().min(0).max(limits.logprobs)),
    echo: maybe(z.boolean()),
    add_special_tokens: maybe(z.boolean()),
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
    const { max_tokens: asked = 16, echo = false, logprobs, session_id: session } = fields;
    if (asked === 0 && !echo) refuse('"max_tokens" may be 0 only with "echo"', 'max_tokens');
    if (serving.model.engine.model.cross !== undefined) checkSourceFields(fields);
    const inputs = inputsOf(fields);
    const scores = { text: logprobs, prompt: echo ? logprobs : undefined };
    const make = async (options: PromptOptions): Promise<TextJob[]> => {
      const prompts = await promptsOf(serving, inputs, options, at.request.abort.signal);
      return prompts.map((prompt) => jobOf(fields, at, prompt, { asked, ...scores }));
    };
    const answer = (records: readonly TextRecord[]) => answerOf(fields, serving, records);
    if (session === undefined) {
      const bos = fields.add_special_tokens === false ? false : 'auto';
      return { jobs: await make({ bos }), answer };
    }
    if (inputs.length !== 1) refuse('a session takes one prompt', 'session_id');
    const { job, keep } = await onSession(fields, at, async (tokens) => (await make({ after: { tokens } }))[0]);
    return { jobs: [job], keep, answer };
  },
};

function checkSourceFields(fields: Fields): void {
  for (const name of ['echo', 'session_id', 'prompt_logprobs'] as const) {
    if (fields[name] === undefined || fields[name] === false) continue;
    refuse(`this model writes about its prompt: it has no "${name}"`, name);
  }
}

function inputsOf({ prompt = '' }: Fields): readonly PromptInput[] {
  const list = typeof prompt === 'string' || isNumbers(prompt) ? [prompt] : prompt;
  if (list.length === 0) refuse('there is no prompt', 'prompt');
  return list.map((one) => (typeof one === 'string' ? { text: one } : { tokens: one }));
}

function isNumbers(prompt: readonly unknown[]): prompt is readonly number[] {
  return prompt.length > 0 && prompt.every((one) => typeof one === 'number');
}

async function promptsOf(
  { model }: Serving,
  inputs: readonly PromptInput[],
  options: PromptOptions,
  signal: AbortSignal,
) {
  const prompts = await whenEncoded(() => inputs.map((input) => preparePrompt(model, input, options)), signal);
  const vocabulary = model.engine.model.sizes.vocabulary;
  for (const { source, tokens } of prompts) checkTokens(source ?? tokens, vocabulary, 'prompt');
  return prompts;
}

function answerOf(fields: Fields, serving: Serving, records: readonly TextRecord[]): AnswerFold {
  const { model } = serving;
  const { echo = false, return_token_ids: withIds } = fields;
  const decode = model.tokenizer.decode.bind(model.tokenizer);
  const shared = openAiParts(fields, serving, records);
  const { names, idsOf, promptIds } = shared;
  const head = { id: `cmpl-${randomUUID()}`, object: 'text_completion', ...shared.identity };
  const logprobs = (scores: readonly CompletionScore[]) =>
    fields.logprobs === undefined ? null : completionLogprobs(scores, names);
  const echoed = ({ prompt }: TextRecord): string => (echo ? decode(prompt) : '');
  /** Scores of the prompt where it is part of the text. */
  const echoedScores = ({ prompt, scores }: TextRecord): CompletionScore[] => {
    if (!echo || fields.logprobs === undefined) return [];
    const offsets = textOffsets(prompt, decode);
    const own = scores.map((score, i) => ({
      ...score,
      top: score.top.slice(0, fields.logprobs),
      offset: offsets[i + 1],
    }));
    return [{ token: prompt[0], offset: 0 }, ...own];
  };
  const placed = (
    record: TextRecord,
    scores: ChoiceRecord['scores'] | readonly CompletionScore[],
  ): CompletionScore[] => {
    const before = fields.logprobs === undefined ? 0 : echoed(record).length;
    return scores.map((score) => ({ ...score, offset: before + score.offset }));
  };
  /** A text that ends with the prompt. */
  const finishBefore = ({ job }: TextRecord) => (job.maxTokens === 0 ? 'length' : null);
  return {
    chunks(piece) {
      const { record } = piece;
      if (piece.type === 'progress') return shared.progress(head, piece.event);
      const chunk = (choice: object): object => ({
        ...head,
        choices: [choice],
        ...shared.usage(),
        ...shared.insight(piece),
      });
      if (piece.type === 'prompt') {
        if (!echo && withIds !== true) return [];
        const [text, scores] = [echoed(record), echo ? logprobs(echoedScores(record)) : null];
        const rest = {
          text,
          logprobs: scores,
          finish_reason: finishBefore(record),
          ...promptIds(record),
          ...idsOf([]),
        };
        return record.choices.map(({ index }) => chunk({ index, ...rest }));
      }
      const { index } = piece.choice;
      const common = { index, logprobs: logprobs(placed(record, piece.event.scores)) };
      if (piece.type === 'text')
        return [chunk({ ...common, text: piece.event.text, finish_reason: null, ...idsOf(piece.event.tokens) })];
      return [chunk({ ...common, text: '', finish_reason: finishOf(piece.event), ...idsOf(piece.tokens) })];
    },
    last: () => shared.last(head),
    whole: () => ({
      ...head,
      choices: records.flatMap((record) => {
        const [before, scores] = [echoed(record), echoedScores(record)];
        return record.choices.map((choice) => ({
          index: choice.index,
          text: before + choice.text,
          logprobs: logprobs([...scores, ...placed(record, [...choice.scores, ...(choice.end?.scores ?? [])])]),
          finish_reason: choice.end === undefined ? finishBefore(record) : finishOf(choice.end),
          ...promptIds(record),
          ...idsOf(choice.tokens),
          ...shared.promptScores(record),
        }));
      }),
      usage: usageOf(records),
    }),
  };
}
