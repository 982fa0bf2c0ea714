import { describe, expect, it } from 'vitest';
import { type Pace, AdaptiveSpeculation, type PacingOptions } from './adaptive-speculation.ts';

/** Runs rounds that take what `cost` says, and returns what was chosen. */
function run(
  adaptive: AdaptiveSpeculation,
  rounds: number,
  cost: (pace: Pace, round: number) => [seconds: number, tokens: number],
): Pace[] {
  return Array.from({ length: rounds }, (_, round) => {
    const pace = adaptive.next;
    adaptive.record(pace, ...cost(pace, round));
    return pace;
  });
}

const share = (paces: readonly Pace[], pace: Pace): number =>
  paces.filter((each) => each === pace).length / paces.length;

describe('adaptive', () => {
  it('speculates where a token costs less with drafts', () => {
    const adaptive = new AdaptiveSpeculation();
    const paces = run(adaptive, 1000, (pace) => (pace === 'speculative' ? [2, 3] : [1, 1]));
    expect(adaptive.decision).toBe('speculative');
    expect(share(paces, 'speculative')).toBeGreaterThan(0.95);
  });

  it('stops where it costs more, and tries ever more rarely', () => {
    const adaptive = new AdaptiveSpeculation();
    const paces = run(adaptive, 3000, (pace) => (pace === 'speculative' ? [2, 1.5] : [1, 1]));
    expect(adaptive.decision).toBe('sequential');
    expect(share(paces.slice(0, 500), 'speculative')).toBeGreaterThan(share(paces.slice(2000), 'speculative'));
    expect(share(paces.slice(2000), 'speculative')).toBeLessThan(0.02);
    expect(share(paces.slice(2000), 'speculative')).toBeGreaterThan(0);
  });

  it('changes its mind when the text becomes predictable, and back', () => {
    const adaptive = new AdaptiveSpeculation();
    const tokens = (round: number): number => (round >= 400 && round < 1200 ? 4 : 1);
    const paces = run(adaptive, 2200, (pace, round) => (pace === 'speculative' ? [2, tokens(round)] : [1, 1]));
    expect(share(paces.slice(100, 400), 'sequential')).toBeGreaterThan(0.85);
    expect(share(paces.slice(800, 1200), 'speculative')).toBeGreaterThan(0.85);
    expect(share(paces.slice(1400, 2200), 'sequential')).toBeGreaterThan(0.85);
  });

  it('does not hold the first round after a pause against a drafter', () => {
    let last: Pace | undefined;
    const adaptive = new AdaptiveSpeculation();
    run(adaptive, 600, (pace) => {
      const first = pace !== last;
      last = pace;
      return pace === 'speculative' ? [first ? 500 : 2, 3] : [1, 1];
    });
    expect(adaptive.decision).toBe('speculative');
  });

  it.each<PacingOptions>([{ trial: 0 }, { interval: 1.5 }, { longestInterval: Number.NaN }])(
    'refuses %j',
    (options) => {
      expect(() => new AdaptiveSpeculation(options)).toThrow(expect.objectContaining({ code: 'CONFIG' }));
    },
  );
});
