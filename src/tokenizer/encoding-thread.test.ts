import { afterEach, describe, expect, it, vi } from 'vitest';
import { refusal } from '../../test/error-code.ts';
import { OverloadError } from '../errors.ts';
import { EncodingThread, type EncodingTask } from './encoding-thread.ts';

/** Threads that encode a text as its length, when they are told to; their tasks and ends are noted. */
function imitation() {
  const log: string[] = [];
  const waiting: (() => void)[] = [];
  const start = () => ({
    failure: undefined,
    ask: ({ text }: EncodingTask) =>
      new Promise<Int32Array>((resolve) => {
        log.push(text);
        waiting.push(() => {
          resolve(Int32Array.of(text.length));
        });
      }),
    terminate: () => Promise.resolve(void log.push('end')),
  });
  const thread = new EncodingThread(start, { mostWaiting: 10, idleMilliseconds: 1000 });
  const encode = (text: string, signal?: AbortSignal) =>
    thread.encode({ folder: '', digest: '', text, follows: undefined }, signal);
  return { log, encode, finish: () => vi.waitFor(() => (waiting.shift() ?? expect.fail('nothing runs'))()) };
}

afterEach(() => {
  vi.useRealTimers();
});

describe('texts that wait for the thread', () => {
  it('come one after the other, and are passed over where nobody waits any more', async () => {
    const { log, encode, finish } = imitation();
    const gone = new AbortController();
    const texts = [encode('one'), encode('two', gone.signal), encode('four')];
    const passedOver = expect(texts[1]).rejects.toThrow(refusal('ABORTED', 'before a text was encoded'));
    gone.abort();
    await finish();
    await passedOver;
    await finish();
    expect([await texts[0], await texts[2], log]).toEqual([Int32Array.of(3), Int32Array.of(4), ['one', 'four']]);
  });

  it('are refused where too much waits; one alone may be longer', async () => {
    const { encode, finish } = imitation();
    const long = encode('longer than ten');
    await expect(encode('x')).rejects.toThrow(OverloadError);
    await finish();
    expect(await long).toEqual(Int32Array.of(15));
    const next = encode('x');
    await finish();
    await next;
  });
});

it('an idle thread ends, and another one begins when a text comes', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const { log, encode, finish } = imitation();
  for (const text of ['one', 'two']) {
    const encoded = encode(text);
    await finish();
    await encoded;
    vi.advanceTimersByTime(text === 'one' ? 999 : 1001);
  }
  expect(log).toEqual(['one', 'two', 'end']);
});
