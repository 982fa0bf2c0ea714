import { expect, it, onTestFinished, vi } from 'vitest';
import { TextLine } from './text-line.ts';

it('closes behind requests that do other work than turns, without looking after them again and again', async () => {
  const looks = vi.spyOn(globalThis, 'setImmediate');
  onTestFinished(() => looks.mockRestore());
  const line = new TextLine(2);
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  const work = line.enter(() => held);
  let closed = false;
  const closing = Promise.all([line.close(), line.close()]).then(() => (closed = true));
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect([closed, looks.mock.calls.length]).toEqual([false, 0]);
  release();
  await Promise.all([work, closing]);
  await line.close();
  expect(line.requests).toBe(0);
});
