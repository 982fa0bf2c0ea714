import { describe, expect, it } from 'vitest';
import { openProgress, WorkPace, silentProgress, type Progress } from './progress.ts';

/** A terminal that remembers what it was sent, and a clock that is set by hand. */
function terminal({ unit = 'steps', ...options }: { unit?: string; columns?: number; isTTY?: boolean } = {}) {
  const written: string[] = [];
  const time = { now: 1000 };
  const progress: Progress = openProgress({
    label: 'train',
    unit,
    clock: () => time.now,
    stream: { isTTY: true, columns: 120, ...options, write: (text: string) => written.push(text) },
  });
  return { written, time, progress, line: () => (written.at(-1) ?? '').replace(/^\r/, '').replace('\x1b[K', '') };
}

describe('openProgress', () => {
  it('shows count, share, rate and remaining time', () => {
    const { progress, time, line } = terminal();
    progress.update(0, 200);
    expect(line()).toBe('train ──────────────────── 0/200 0 %');
    time.now += 10;
    progress.update(50, 200, 'loss 2.31');
    expect(line()).toBe('train ━━━━━─────────────── 50/200 25 % · 5 steps/s · 30 s left · loss 2.31');
    time.now += 30;
    progress.update(200, 200);
    expect(line()).toMatch(/━{20} 200\/200 100 % · [\d.]+ steps\/s$/);
  });

  it('shows bytes in their scales', () => {
    const { progress, time, line } = terminal({ unit: 'bytes' });
    progress.update(0, 4 << 20);
    time.now += 2;
    progress.update(3 << 19, 4 << 20);
    expect(line()).toBe('train ━━━━━━━───────────── 1.50 MiB/4 MiB 37 % · 768 KiB/s · 3 s left');
  });

  it('redraws one line: carriage return first, rest of the line cleared, no newline', () => {
    const { progress, time, written } = terminal();
    for (let step = 0; step <= 5; step++) {
      progress.update(step, 5);
      time.now += 1;
    }
    expect(written).toHaveLength(6);
    for (const text of written) expect(text).toMatch(/^\r[^\r\n]*\x1b\[K$/);
  });

  it('draws ten times a second at most, and the end always', () => {
    const { progress, time, written, line } = terminal();
    for (let step = 0; step <= 1000; step++) {
      progress.update(step, 1000);
      time.now += 0.001;
    }
    expect(written.length).toBeGreaterThanOrEqual(10);
    expect(written.length).toBeLessThanOrEqual(12);
    expect(line()).toContain('1,000/1,000 100 %');
  });

  it('counts the pace of a resumed task from where it resumed', () => {
    const { progress, time, line } = terminal();
    time.now += 100;
    progress.update(150, 200);
    expect(line()).not.toContain('left');
    time.now += 10;
    progress.update(160, 200);
    expect(line()).toContain('· 1 steps/s · 40 s left');
  });

  it('starts anew when the count falls back', () => {
    const { progress, time, line } = terminal();
    progress.update(0, 100);
    time.now += 1;
    progress.update(100, 100);
    time.now += 1;
    progress.update(0, 10);
    expect(line()).toBe('train ──────────────────── 0/10 0 %');
    time.now += 4;
    progress.update(2, 10);
    expect(line()).toContain('16 s left');
  });

  it('manages without a total', () => {
    const { progress, time, line } = terminal();
    progress.update(0, 0);
    time.now += 2;
    progress.update(500, NaN);
    expect(line()).toBe('train 500 · 250 steps/s');
  });

  it('never wraps, whatever the text', () => {
    const { progress, time, line } = terminal({ columns: 40 });
    progress.update(0, 10, 'a\nb\r\x1b[2J' + '日本'.repeat(40));
    time.now += 1;
    expect(line()).toMatch(/^train .*…$/);
    expect([...line()].length).toBeLessThanOrEqual(39);
    expect(line()).not.toMatch(/\p{Cc}/u);
  });

  it('clears the line at the end, or leaves a message', () => {
    const { progress, written } = terminal();
    progress.update(1, 2);
    progress.finish();
    expect(written.at(-1)).toBe('\r\x1b[K');
    progress.finish('saved');
    expect(written.at(-1)).toBe('\rsaved\x1b[K\n');
  });

  it('prints a line now and then where there is no terminal', () => {
    const { progress, written, time } = terminal({ isTTY: false });
    for (let second = 0; second <= 65; second++) {
      time.now = 1000 + second;
      progress.update(second, 100, 'loss 2.31');
    }
    progress.finish('saved');
    expect(written).toEqual([
      'train 30/100 30 % · 1 steps/s · 1m 10s left · loss 2.31\n',
      'train 60/100 60 % · 1 steps/s · 40 s left · loss 2.31\n',
    ]);
  });

  it('prints nothing of short tasks where there is no terminal', () => {
    const { progress, written } = terminal({ isTTY: false });
    progress.update(1, 2);
    progress.finish('saved');
    silentProgress.update(1, 2);
    silentProgress.finish();
    expect(written).toEqual([]);
  });
});

describe('Pace', () => {
  it('is units over seconds at a steady pace', () => {
    const pace = new WorkPace();
    expect(pace.rate).toBeUndefined();
    for (let at = 0; at < 100; at++) {
      pace.observe(3, 0.5);
      expect(pace.rate).toBeCloseTo(6, 10);
    }
  });

  it('forgets a slow start after some memories', () => {
    const pace = new WorkPace();
    pace.observe(1, 60);
    for (let second = 0; second < 75; second++) pace.observe(10, 1);
    // The first unit's weight is exp(-75/15): 60 s of it count for 0.4 s.
    expect(pace.rate).toBeGreaterThan(9.6);
    expect(pace.rate).toBeLessThan(10);
  });

  it('says nothing as long as nothing is done', () => {
    const pace = new WorkPace();
    pace.observe(0, 5);
    expect(pace.rate).toBeUndefined();
  });
});
