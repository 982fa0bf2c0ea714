/**
 * An endpoint that continues prompts, as data: its fields, the texts that they ask for, and how these are told. Texts, sessions,
 * streams and errors are handled once, here.
 */
import { cancelled } from '../../../engine/running-job.ts';
import type { TextRun } from '../../../engine/text-job.ts';
import { BrokenLogitsError } from '../../../errors.ts';
import { ApiError, asApiError } from '../api-error.ts';
import type { Serving } from '../request-context.ts';
import type { Refusals } from '../request-fields.ts';
import { type ApiRequest, type BodySchema, post, type Route } from '../route.ts';
import { eventStream, type Framing } from './event-stream.ts';
import type { Keep, Piece, TextRecord } from './records.ts';

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
  readonly texts: readonly TextRecord[];
  /** Keeps the session of a text. */
  readonly keep?: Keep | undefined;
  /** Tells of the texts, which grow with the events. */
  readonly answer: AnswerFold;
}

/** Builds the answer to texts: chunks of a stream, or one whole. */
export interface AnswerFold {
  first?(): readonly object[];
  chunks(piece: Piece): readonly object[];
  last?(): readonly object[];
  /** An answer without streaming. */
  whole(): object;
}

/** Routes that speak a dialect. Their answers throw ApiError, and as `Runner.submitAll`. */
export function dialectRoutes<Fields extends { readonly stream?: boolean | undefined }>(
  paths: readonly string[],
  { summary, body, refusals, framing, ask }: Dialect<Fields>,
): Route<Serving>[] {
  const answerTo = async (serving: Serving, request: ApiRequest, fields: Fields): Promise<Response> => {
    const { runner } = serving;
    runner.checkRoom(request.key);
    const { texts, keep, answer } = await ask(fields, { serving, request });
    const runs = runner.submitAll(texts.map(({ job }) => job));
    const parts = texts.map((text, place) => piecesOf(text, runs[place], keep));
    const pieces = parts.length === 1 ? parts[0] : interleaved(parts);
    const headers = lengthWarning(serving, texts);
    if (fields.stream === true) {
      return eventStream(streamed(answer, pieces, framing, request.abort), request.abort, framing, headers);
    }
    for await (const _ of pieces) continue;
    return Response.json(answer.whole(), { headers });
  };
  return paths.map((path) => post(path, summary, body, answerTo, { refusals }));
}

type Pieces = AsyncGenerator<Piece, void, undefined>;

/**
 * The answer of a text, piece by piece. Its session is kept before the client reads of the end.
 * @throws LinnetError as `Runner.submit`, and `ABORTED`
 */
async function* piecesOf(record: TextRecord, run: TextRun, keep?: Keep): Pieces {
  try {
    for await (const event of run) {
      if (event.type === 'prompt') {
        const { cached, scores, state } = event;
        Object.assign(record, { cached, scores, state });
        yield { type: 'prompt', record, event };
        continue;
      }
      const choice = record.choices[event.choice];
      if (event.type === 'tokens') {
        const tokens = [...choice.waiting, ...event.tokens];
        const comes = event.text !== '' || event.scores.length > 0 || event.trees.length > 0;
        choice.waiting = comes ? [] : tokens;
        if (!comes) continue;
        choice.text += event.text;
        choice.tokens.push(...tokens);
        choice.scores.push(...event.scores);
        yield { type: 'text', record, choice, event: { ...event, tokens } };
        continue;
      }
      if (event.generation.finish === 'abort') throw cancelled();
      const tokens = event.generation.tokens.slice(choice.tokens.length);
      choice.tokens.push(...tokens);
      choice.end = event;
      record.ended = event;
      if (event.choice === 0 && keep !== undefined) {
        record.session.moveOn(record.job, event);
        await keep(record.session.snapshot(), record);
      }
      yield { type: 'end', record, choice, event, tokens };
    }
  } catch (error) {
    if (record.job.state === undefined || !(error instanceof BrokenLogitsError)) throw error;
    const advice = "the session's state has no finite next-token probabilities; begin another session";
    throw new ApiError('invalid_request_error', advice);
  }
}

/** Pieces of several texts in the order in which they come. */
async function* interleaved(texts: readonly Pieces[]): Pieces {
  const next = async (text: Pieces) => ({ text, result: await text.next() });
  const pending = new Map(texts.map((text) => [text, next(text)]));
  try {
    while (pending.size > 0) {
      const { text, result } = await Promise.race(pending.values());
      pending.delete(text);
      if (result.done === true) continue;
      pending.set(text, next(text));
      yield result.value;
    }
  } finally {
    for (const promise of pending.values()) promise.catch(() => undefined);
    for (const text of texts) text.return().catch(() => undefined);
  }
}

/**
 * The chunks of a fold as a stream. An error after its beginning is its last event.
 * @param abort fired at the end, before the client reads of it: the session is free for its next turn then
 */
async function* streamed(
  fold: AnswerFold,
  pieces: Pieces,
  framing: Framing,
  abort: AbortController,
): AsyncGenerator<string, void, undefined> {
  let sent = 0;
  const framed = (chunks: readonly object[] = []): string =>
    chunks.map((chunk) => framing.event(chunk, sent++)).join('');
  try {
    yield framed(fold.first?.());
    for await (const piece of pieces) yield framed(fold.chunks(piece));
    abort.abort();
    yield framed(fold.last?.()) + framing.end;
  } catch (error) {
    yield framing.event(framing.failure(asApiError(error, abort.signal)), sent);
  }
}

/** A warning header for prompts beyond the trained length, where the model predicts worse. */
function lengthWarning({ model: { trainedLength } }: Serving, records: readonly TextRecord[]): Record<string, string> {
  let longest = 0;
  for (const { prompt } of records) longest = Math.max(longest, prompt.length);
  if (longest <= trainedLength) return {};
  return { 'x-linnet-warning': `a prompt has ${longest} tokens, but the model was trained for ${trainedLength}` };
}
