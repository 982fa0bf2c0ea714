import fc from 'fast-check';
import { expect, it } from 'vitest';
import { KeptCopies, KeptMemory, KeptSender } from './kept-memory.ts';

const write = fc.record({
  start: fc.nat({ max: 39 }),
  length: fc.integer({ min: 1, max: 12 }),
  /** Which readers look afterwards. */
  readers: fc.subarray([0, 1]),
  /** Whether other memory takes the place of this before. */
  anew: fc.integer({ min: 0, max: 9 }).map((chance) => chance === 0),
});

it('copies are what the memory is, however rarely a reader looks', () => {
  fc.assert(
    fc.property(fc.array(write, { maxLength: 60 }), (writes) => {
      let memory = new KeptMemory('keys.0', 40);
      let written = 0;
      const readers = [0, 1].map(() => ({ sender: new KeptSender(), copies: new KeptCopies() }));
      for (const { start, length, readers: looking, anew } of writes) {
        if (anew) memory = new KeptMemory('keys.0', 40);
        const end = Math.min(40, start + length);
        memory.data.fill(++written, start, end);
        memory.wrote(start, end);
        for (const index of looking) {
          const { sender, copies } = readers[index];
          expect(copies.take(sender.update(memory))).toEqual(memory.data);
        }
      }
      for (const { sender, copies } of readers) expect(copies.take(sender.update(memory))).toEqual(memory.data);
    }),
    { numRuns: 200, seed: 3 },
  );
});

it('a reader that keeps up is sent what was written, and no more', () => {
  const memory = new KeptMemory('keys.0', 1000);
  const sender = new KeptSender();
  sender.update(memory);
  for (let step = 0; step < 400; step++) {
    const start = (step * 10) % 1000;
    memory.wrote(start, start + 10);
    const { fresh, pieces, numbers } = sender.update(memory);
    expect([fresh, ...pieces, numbers.length]).toEqual([false, start, start + 10, 10]);
  }
  expect([...sender.update(memory).pieces]).toEqual([]);
});
