/**
 * An endpoint that continues prompts, as data: its fields, the jobs that they mean, and how the events of these are told.
 * Jobs, sessions, streams and errors are handled once, here.
 */
import type { SavedSession } from '../../../decoding/state/session-format.ts';
import type { SequenceState } from '../../../decoding/state/sequence-state.ts';
import { cancelled } from '../../../engine/running-job.ts';
import type { PlacedScore, TokenScore } from '../../../engine/text/scores.ts';
import type { EndEvent, PromptEvent, TextEvent, TextJob, TokensEvent } from '../../../engine/text-job.ts';
import { asApiError } from '../api-error.ts';
import type { Serving } from '../request-context.ts';
import type { Refusals } from '../request-fields.ts';
import { type ApiRequest, type BodySchema, post, type Route } from '../route.ts';
import { eventStream, type Framing, interleave } from './event-stream.ts';

/** @template Fields a body that has been checked */
export interface Dialect<Fields extends { readonly stream?: boolean | undefined }> {
  readonly summary: string;
  readonly body: BodySchema<Fields>;
  readonly refusals: Refusals;
  readonly framing: Framing;
  readonly ask: (fields: Fields, at: At) => Asked | Promise<Asked>;
}

export interface At {
  readonly serving: Serving;
  readonly request: ApiRequest;
}

export interface Asked {
  readonly jobs: readonly TextJob[];
  /** Keeps the first text of a job: in a session, a slot. */
  readonly keep?: Keep | undefined;
  /** @param records of the jobs, which grow with the events */
  readonly answer: (records: readonly TextRecord[]) => AnswerFold;
}

export type Keep = (text: SavedSession, record: TextRecord) => Promise<void> | void;

/** Builds the answer to jobs: chunks of a stream, or one whole. */
export interface AnswerFold {
  first?(): readonly object[];
  chunks(piece: Piece): readonly object[];
  last?(): readonly object[];
  /** An answer that is no stream. */
  whole(): object;
}

/** A job with its prompt, its choices and its statistics. */
export interface TextRecord {
  readonly job: TextJob;
  /** The tokens that the client gave: for encoder-decoder models the source. */
  readonly prompt: readonly number[];
  readonly choices: readonly ChoiceRecord[];
  /** Tokens of the prompt that a state had read before. */
  cached: number;
  seconds: number;
  /** Of the prompt's second token and those after it. */
  scores: readonly TokenScore[];
  state?: SequenceState;
  ended?: EndEvent;
}

/** One text of a job. */
export interface ChoiceRecord {
  /** Among all choices of the request. */
  readonly index: number;
  text: string;
  readonly tokens: number[];
  /** Those that came with the text; `end` has the others. */
  readonly scores: PlacedScore[];
  /** Tokens whose characters are not certain yet. */
  waiting: readonly number[];
  end?: EndEvent;
}

/** A step of an answer, which the records have taken in. */
export type Piece = { readonly record: TextRecord } & (
  | { readonly type: 'progress'; readonly event: PromptEvent }
  | { readonly type: 'prompt'; readonly event: PromptEvent }
  | { readonly type: 'text'; readonly choice: ChoiceRecord; readonly event: TokensEvent }
  | {
      readonly type: 'end';
      readonly choice: ChoiceRecord;
      readonly event: EndEvent;
      /** Tokens that came with no text. */
      readonly tokens: readonly number[];
    }
);

/** Routes that speak a dialect. Their answers throw ApiError, and as `Runner.submitAll`. */
export function dialectRoutes<Fields extends { readonly stream?: boolean | undefined }>(
  paths: readonly string[],
  { summary, body, refusals, framing, ask }: Dialect<Fields>,
): Route<Serving>[] {
  const answerTo = async (serving: Serving, request: ApiRequest, fields: Fields): Promise<Response> => {
    const { runner } = serving;
    const { abort } = request;
    runner.checkRoom();
    const { jobs, keep, answer } = await ask(fields, { serving, request });
    const records = recordsOf(jobs);
    const fold = answer(records);
    const pieces = followed(records, runner.submitAll(jobs), keep, abort);
    const headers = lengthWarning(serving, records);
    if (fields.stream === true) return eventStream(streamed(fold, pieces, framing), abort, framing, headers);
    while ((await pieces.next()).done !== true) continue;
    return Response.json(fold.whole(), { headers });
  };
  return paths.map((path) => post(path, summary, body, answerTo, { refusals }));
}

function recordsOf(jobs: readonly TextJob[]): TextRecord[] {
  let choices = 0;
  return jobs.map((job) => ({
    job,
    prompt: job.prompt.source ?? job.prompt.tokens,
    choices: Array.from({ length: job.n ?? 1 }, () => ({
      index: choices++,
      text: '',
      tokens: [],
      scores: [],
      waiting: [],
    })),
    cached: 0,
    seconds: 0,
    scores: [],
  }));
}

/** Takes events into the records; when a text has ended, it is kept before the client reads of it. */
async function* followed(
  records: readonly TextRecord[],
  sources: readonly AsyncGenerator<TextEvent, void, undefined>[],
  keep: Keep | undefined,
  abort: AbortController,
): AsyncGenerator<Piece, void, undefined> {
  try {
    for await (const [source, event] of interleave(sources)) {
      const record = records[source];
      if (event.type === 'prompt') {
        const { cached, seconds, scores, state } = event;
        Object.assign(record, { cached, seconds, scores, state });
        yield { type: 'progress', record, event };
        if (event.done === event.total) yield { type: 'prompt', record, event };
      } else if (event.type === 'tokens') {
        const choice = record.choices[event.choice];
        const tokens = [...choice.waiting, ...event.tokens];
        const comes = event.text !== '' || event.scores.length > 0 || event.trees.length > 0;
        choice.waiting = comes ? [] : tokens;
        if (!comes) continue;
        choice.text += event.text;
        choice.tokens.push(...tokens);
        choice.scores.push(...event.scores);
        yield { type: 'text', record, choice, event: { ...event, tokens } };
      } else {
        const { generation, sampler } = event;
        if (generation.finish === 'abort') throw cancelled();
        const choice = record.choices[event.choice];
        const tokens = generation.tokens.slice(choice.tokens.length);
        choice.tokens.push(...tokens);
        Object.assign(choice, { end: event });
        Object.assign(record, { ended: event });
        if (event.choice === 0 && keep !== undefined) {
          const text = [...record.job.prompt.tokens, ...generation.tokens];
          await keep({ state: generation.state, tokens: text, sampler: sampler.random.state }, record);
        }
        yield { type: 'end', record, choice, event, tokens };
      }
    }
  } finally {
    // Before the client reads of the end: the session is free for its next turn then.
    abort.abort();
  }
}

/** The chunks of a fold as a stream. An error after its beginning is its last event. */
async function* streamed(
  fold: AnswerFold,
  pieces: AsyncIterable<Piece>,
  framing: Framing,
): AsyncGenerator<string, void, undefined> {
  let sent = 0;
  const framed = (chunks: readonly object[] = []): string =>
    chunks.map((chunk) => framing.event(chunk, sent++)).join('');
  try {
    yield framed(fold.first?.());
    for await (const piece of pieces) yield framed(fold.chunks(piece));
    yield framed(fold.last?.()) + framing.end;
  } catch (error) {
    yield framing.event(framing.failure(asApiError(error)), sent);
  }
}

export function finishOf({ generation }: EndEvent): 'length' | 'stop' {
  return generation.finish === 'length' ? 'length' : 'stop';
}

/** Scores of the tokens of a text; the token that ended it is not in it. */
export function visibleScores({ scores, end }: ChoiceRecord): readonly PlacedScore[] {
  return [...scores, ...(end?.scores ?? [])].slice(0, end?.generation.tokens.length);
}

export function usageOf(records: readonly TextRecord[]) {
  let [prompt, written, cached] = [0, 0, 0];
  for (const record of records) {
    prompt += record.prompt.length;
    cached += record.cached;
    for (const { tokens } of record.choices) written += tokens.length;
  }
  return {
    prompt_tokens: prompt,
    completion_tokens: written,
    total_tokens: prompt + written,
    prompt_tokens_details: { cached_tokens: cached },
  };
}

/** A header for clients whose prompts are longer than those that the model was trained for: it predicts worse there. */
function lengthWarning({ model }: Serving, records: readonly TextRecord[]): Record<string, string> {
  const trainedLength = model.engine.model.sizes.trainedLength ?? Infinity;
  const longest = Math.max(0, ...records.map(({ prompt }) => prompt.length));
  if (longest <= trainedLength) return {};
  return { 'x-linnet-warning': `a prompt has ${longest} tokens; the model was trained for ${trainedLength}` };
}
