/** Answers that come piece by piece, at the pace of their reader. */
import type { ApiError } from '../api-error.ts';

export interface Framing {
  /** The content type of streams. */
  readonly type: string;
  /** Sent every 15 s while there is nothing else. Default: nothing. */
  readonly ping?: string;
  event(chunk: object & { readonly type?: string }, sequence: number): string;
  failure(error: ApiError): object;
  readonly end: string;
}

/** Server-sent events without names. */
export const dataFraming: Framing = {
  type: 'text/event-stream; charset=utf-8',
  ping: ': ping\n\n',
  event: (chunk) => `data: ${JSON.stringify(chunk)}\n\n`,
  failure: ({ body }) => body,
  end: '',
};

export const openAiFraming: Framing = { ...dataFraming, end: 'data: [DONE]\n\n' };

/** Named server-sent events, as in /v1/responses. */
export const namedFraming: Framing = {
  ...dataFraming,
  event: ({ type, ...chunk }, sequence_number) =>
    `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number, ...chunk })}\n\n`,
  failure: ({ message, type }) => ({ type: 'error', code: type, message, param: null }),
};

/** A line of JSON for each event, as Ollama's. */
export const lineFraming: Framing = {
  type: 'application/x-ndjson',
  event: (chunk) => `${JSON.stringify(chunk)}\n`,
  failure: ({ message }) => ({ error: message }),
  end: '',
};

/** A header for proxies, which streams alone have. */
export const unbuffered = 'x-accel-buffering';

const pingEvery = 15_000;

/**
 * A response whose events are made only as fast as they are read, with pings while there are none.
 * @param abort fired at the end, or when the reader goes away before
 */
export function eventStream(
  events: AsyncGenerator<string, void, undefined>,
  abort: AbortController,
  { type, ping = '' }: Framing,
  headers: Readonly<Record<string, string>>,
): Response {
  const encoder = new TextEncoder();
  let pinging: NodeJS.Timeout | undefined;
  const end = (): void => {
    clearInterval(pinging);
    abort.abort();
  };
  const body = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        pinging = setInterval(() => {
          if (ping !== '' && (controller.desiredSize ?? 0) > 0) controller.enqueue(encoder.encode(ping));
        }, pingEvery).unref();
      },
      async pull(controller) {
        let step: IteratorResult<string, void>;
        do step = await events.next();
        while (step.value === '');
        pinging?.refresh();
        if (step.done !== true) controller.enqueue(encoder.encode(step.value));
        else {
          end();
          controller.close();
        }
      },
      async cancel() {
        end();
        await events.return();
      },
    },
    { highWaterMark: 1 },
  );
  return new Response(body, {
    headers: { ...headers, 'content-type': type, 'cache-control': 'no-cache', [unbuffered]: 'no' },
  });
}
