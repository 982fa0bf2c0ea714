/** Server-sent events, at the pace of whoever reads them. */

const encoder = new TextEncoder();
const pingEvery = 15_000;

/** One event that carries JSON. */
export function dataEvent(value: unknown): string {
  return `data: ${JSON.stringify(value)}\n\n`;
}

/** One event with a name. */
export function namedEvent(name: string, value: unknown): string {
  return `event: ${name}\ndata: ${JSON.stringify(value)}\n\n`;
}

export const doneEvent = 'data: [DONE]\n\n';

/**
 * A response whose events are made only as fast as they are read, with a comment every 15 s while there are none.
 * @param onGone called when the reader goes away before the end
 */
export function eventStream(events: AsyncGenerator<string, void, undefined>, onGone: () => void): Response {
  let pending: Promise<IteratorResult<string, void>> | undefined;
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        pending ??= events.next();
        const result = await withPing(pending);
        if (result === 'ping') {
          controller.enqueue(encoder.encode(': ping\n\n'));
          return;
        }
        pending = undefined;
        if (result.done === true) controller.close();
        else controller.enqueue(encoder.encode(result.value));
      },
      async cancel() {
        onGone();
        await events.return();
      },
    },
    { highWaterMark: 1 },
  );
  return new Response(body, {
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
    },
  });
}

async function withPing<T>(pending: Promise<T>): Promise<T | 'ping'> {
  let timer: NodeJS.Timeout | undefined;
  const ping = new Promise<'ping'>((resolve) => {
    timer = setTimeout(() => {
      resolve('ping');
    }, pingEvery);
  });
  try {
    return await Promise.race([pending, ping]);
  } finally {
    clearTimeout(timer);
  }
}

/** Several streams as one, in the order in which their events come. */
export async function* interleave<T>(
  sources: readonly AsyncGenerator<T, void, undefined>[],
): AsyncGenerator<readonly [source: number, event: T], void, undefined> {
  const step = async (source: number) => ({ source, result: await sources[source].next() });
  const pending = new Map(sources.map((_, source) => [source, step(source)] as const));
  try {
    while (pending.size > 0) {
      const { source, result } = await Promise.race(pending.values());
      if (result.done === true) {
        pending.delete(source);
      } else {
        pending.set(source, step(source));
        yield [source, result.value];
      }
    }
  } finally {
    for (const promise of pending.values()) promise.catch(() => undefined);
  }
}
