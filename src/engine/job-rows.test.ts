/** Waiting places and rows, shared among owners and within one. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { JobRows, type RowHolder } from './job-rows.ts';

type Named = RowHolder & { readonly name: string };

function job(owner: string, name: string): Named {
  const events = { isFull: false, unreadFor: 0 };
  return { owner, name, width: 1, events, chunkLength: () => 1, job: {} };
}

const names = (jobs: readonly Named[] | undefined): string[] | undefined => jobs?.map(({ name }) => name);

describe('waiting places', () => {
  it('go to an owner with few of them: the newest request of the owner with most is dropped', () => {
    const rows = new JobRows<Named>(1, 4);
    for (const name of ['a1', 'a2', 'a3', 'a4', 'a5']) rows.add([job('a', name)]);
    rows.admit();
    expect(rows.waiting).toBe(4);
    expect(rows.displacedBy('a')).toBeUndefined();
    expect(names(rows.displacedBy('b'))).toEqual(['a5']);
    for (const dropped of rows.displacedBy('b') ?? []) rows.remove(dropped);
    rows.add([job('b', 'b1')]);
    expect(rows.waiting).toBe(4);
    // With three against one, b gets one more place, but not a third.
    expect(names(rows.displacedBy('b'))).toEqual(['a4']);
    for (const dropped of rows.displacedBy('b') ?? []) rows.remove(dropped);
    rows.add([job('b', 'b2')]);
    expect(rows.displacedBy('b')).toBeUndefined();
    expect(names(rows.displacedBy('c'))).toEqual(['a3']);
  });

  it('of a request with several jobs are dropped together', () => {
    const rows = new JobRows<Named>(1, 2);
    rows.add([job('a', 'begun')]);
    rows.admit();
    rows.add([job('a', 'a1')]);
    rows.add([job('a', 'a2'), job('a', 'a2 too')]);
    expect(names(rows.displacedBy('b'))).toEqual(['a2', 'a2 too']);
  });
});

describe('rows of one owner', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('pass on where a job waits for long: sixty endless texts and one more, which begins within 10 s', () => {
    const rows = new JobRows<Named>(8, 64);
    for (let place = 0; place < 60; place++) rows.add([job('a', String(place))]);
    rows.admit();
    rows.add([job('a', 'short')]);
    const begun = new Map<string, number>();
    for (let tenths = 0; tenths < 100; tenths++) {
      vi.advanceTimersByTime(100);
      for (const { running } of rows.admit().begun) begun.set(running.name, performance.now());
      expect(rows.active).toBe(8);
    }
    expect(begun.has('short')).toBe(true);
    expect(rows.all.length).toBe(61);
  });

  it('stay where jobs wait for less than two seconds', () => {
    const rows = new JobRows<Named>(1, 64);
    for (const name of ['one', 'two']) rows.add([job('a', name)]);
    rows.admit();
    vi.advanceTimersByTime(1900);
    rows.admit();
    expect(names(rows.live)).toEqual(['one']);
    vi.advanceTimersByTime(200);
    rows.admit();
    expect(names(rows.live)).toEqual(['two']);
  });

  it('are given to no more jobs than may hold a state', () => {
    const rows = new JobRows<Named>(2, 4);
    for (let place = 0; place < 30; place++) rows.add([job('a', String(place))]);
    let begun = 0;
    for (let seconds = 0; seconds < 60; seconds++) {
      begun += rows.admit().begun.length;
      vi.advanceTimersByTime(1100);
    }
    expect(begun).toBe(6);
  });
});
