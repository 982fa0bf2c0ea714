/**
 * An endpoint that continues prompts, as data: its fields, the texts that they ask for, and how these are told. Texts, sessions,
 * streams and errors are handled once, here.
 */
import { asApiError } from '../api-error.ts';
import type { Serving } from '../request-context.ts';
import type { Refusals } from '../request-fields.ts';
import { type ApiRequest, type BodySchema, post, type Route } from '../route.ts';
import { eventStream, type Framing } from './event-stream.ts';
import { AnswerPieces, type AskedText, type Keep, type Piece, recordsOf, type TextRecord } from './records.ts';

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
  readonly texts: readonly AskedText[];
  /** Keeps the session of a text. */
  readonly keep?: Keep | undefined;
  /** @param records of the texts, which grow with the events */
  readonly answer: (records: readonly TextRecord[]) => AnswerFold;
}

/** Builds the answer to texts: chunks of a stream, or one whole. */
export interface AnswerFold {
  first?(): readonly object[];
  chunks(piece: Piece): readonly object[];
  last?(): readonly object[];
  /** An answer that is no stream. */
  whole(): object;
}

/** Routes that speak a dialect. Their answers throw ApiError, and as `Runner.submitAll`. */
export function dialectRoutes<Fields extends { readonly stream?: boolean | undefined }>(
  paths: readonly string[],
  { summary, body, refusals, framing, ask }: Dialect<Fields>,
): Route<Serving>[] {
  const answerTo = async (serving: Serving, request: ApiRequest, fields: Fields): Promise<Response> => {
    const { runner } = serving;
    const { abort } = request;
    runner.checkRoom(request.key);
    const { texts, keep, answer } = await ask(fields, { serving, request });
    const records = recordsOf(texts);
    const fold = answer(records);
    const runs = runner.submitAll(texts.map(({ job }) => job));
    const pieces = new AnswerPieces(records, runs, keep, abort);
    const headers = lengthWarning(serving, records);
    if (fields.stream === true) return eventStream(streamed(fold, pieces, framing), abort, framing, headers);
    while ((await pieces.next()) !== undefined) continue;
    return Response.json(fold.whole(), { headers });
  };
  return paths.map((path) => post(path, summary, body, answerTo, { refusals }));
}

/** The chunks of a fold as a stream. An error after its beginning is its last event. */
async function* streamed(
  fold: AnswerFold,
  pieces: AnswerPieces,
  framing: Framing,
): AsyncGenerator<string, void, undefined> {
  let sent = 0;
  const framed = (chunks: readonly object[] = []): string =>
    chunks.map((chunk) => framing.event(chunk, sent++)).join('');
  try {
    yield framed(fold.first?.());
    for (let piece = await pieces.next(); piece !== undefined; piece = await pieces.next()) {
      yield framed(fold.chunks(piece));
    }
    yield framed(fold.last?.()) + framing.end;
  } catch (error) {
    yield framing.event(framing.failure(asApiError(error)), sent);
  } finally {
    pieces.end();
  }
}

/** A header for clients whose prompts are longer than those that the model was trained for: it predicts worse there. */
function lengthWarning({ model }: Serving, records: readonly TextRecord[]): Record<string, string> {
  const trainedLength = model.decoder.sizes.trainedLength ?? Infinity;
  const longest = Math.max(0, ...records.map(({ prompt }) => prompt.length));
  if (longest <= trainedLength) return {};
  return { 'x-linnet-warning': `a prompt has ${longest} tokens; the model was trained for ${trainedLength}` };
}
