/** Rounds draft where that gives more tokens a second, by what they are measured to cost and drafts to bring. */
import { describe, expect, it } from 'vitest';
import {
  AdaptiveSpeculation,
  nodeBucket,
  type Pace,
  type PacingOptions,
  roundPacing,
  StepCosts,
  type TextPace,
} from './adaptive-speculation.ts';

/** Runs rounds that take what `cost` says, and returns what was chosen. */
function run(
  adaptive: AdaptiveSpeculation,
  rounds: number,
  cost: (pace: Pace, round: number) => [seconds: number, tokens: number],
): Pace[] {
  return Array.from({ length: rounds }, (_, round) => {
    const pace = adaptive.next;
    adaptive.record(pace, ...cost(pace, round), pace === 'speculative' ? 8 : 1);
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

/** A machine that runs eight nodes in the time of one, and more in proportion. */
const seconds = (rows: number, nodes: number): number => 0.01 * Math.max(1, (rows * nodes) / 8);

interface Drafts {
  readonly nodes: number;
  readonly tokens: number;
}

/** Runs rounds of texts with such drafts, and some that never draft. Returns the share of rounds that drafted. */
function runRounds(
  pacing: AdaptiveSpeculation,
  paces: readonly TextPace[],
  { nodes, tokens }: Drafts,
  { rounds = 300, others = 0 } = {},
): number {
  let drafted = 0;
  const rows = paces.length + others;
  for (let round = 0; round < rounds; round++) {
    const pace = pacing.begin(rows, paces);
    if (pace === 'speculative') drafted++;
    for (const text of paces) {
      expect(text.next).toBe(pace);
      text.record(pace, 0, pace === 'speculative' ? tokens : 1, pace === 'speculative' ? nodes : 1);
    }
    pacing.end(seconds(rows, pace === 'speculative' ? nodeBucket(nodes) : 1));
  }
  return drafted / rounds;
}

const texts = (pacing: AdaptiveSpeculation, count: number): TextPace[] =>
  Array.from({ length: count }, () => pacing.newText());

describe('rounds', () => {
  const good = { nodes: 8, tokens: 3 };

  it('draft where a few texts leave the machine time, and not where many fill it', () => {
    const pacing = new AdaptiveSpeculation(roundPacing);
    expect(runRounds(pacing, texts(pacing, 1), good)).toBeGreaterThan(0.95);
    expect(runRounds(pacing, texts(pacing, 2), good)).toBeGreaterThan(0.95);
    expect(runRounds(pacing, texts(pacing, 8), good)).toBeLessThan(0.1);
    expect(runRounds(pacing, texts(pacing, 1), good)).toBeGreaterThan(0.95);
  });

  it('do not draft for one text what others pay for', () => {
    const pacing = new AdaptiveSpeculation(roundPacing);
    expect(runRounds(pacing, texts(pacing, 1), good, { others: 7 })).toBeLessThan(0.1);
    const cheap = new AdaptiveSpeculation(roundPacing);
    expect(runRounds(cheap, texts(cheap, 2), { nodes: 2, tokens: 1.9 }, { others: 2 })).toBeGreaterThan(0.95);
  });

  it('stop drafting where it brings nothing, and notice when it does again', () => {
    const pacing = new AdaptiveSpeculation(roundPacing);
    const one = texts(pacing, 1);
    const useless = { nodes: 16, tokens: 1 };
    expect(runRounds(pacing, one, useless)).toBeLessThan(0.15);
    runRounds(pacing, one, good, { rounds: 200 });
    expect(runRounds(pacing, one, good)).toBeGreaterThan(0.95);
  });

  it('of texts that do not draft decide nothing, and are measured once a text drafts', () => {
    const pacing = new AdaptiveSpeculation(roundPacing);
    pacing.begin(3, []);
    pacing.end(0.5);
    expect(pacing.costs.seconds(3, 1)).toBeUndefined();
    texts(pacing, 1);
    for (let round = 0; round < 10; round++) {
      pacing.begin(3, []);
      pacing.end(0.02);
    }
    expect(pacing.costs.seconds(3, 1)).toBeCloseTo(0.02, 10);
  });
});

describe('costs of steps', () => {
  it('are those measured, and on a line where none were', () => {
    const costs = new StepCosts();
    expect(costs.seconds(1, 1)).toBeUndefined();
    for (let i = 0; i < 5; i++) {
      costs.record(1, 1, 0.01);
      costs.record(4, 1, 0.04);
      costs.record(1, 7, 0.08);
    }
    expect([costs.knows(1, 8), costs.knows(2, 1)]).toEqual([true, false]);
    expect(costs.seconds(1, 8)).toBeCloseTo(0.08, 10);
    expect(costs.seconds(2, 1)).toBeCloseTo(0.02, 10);
    expect(costs.seconds(4, 4)).toBeCloseTo(0.16, 10);
  });

  it('leave out what one step took that was held up', () => {
    const costs = new StepCosts();
    for (let i = 0; i < 5; i++) costs.record(1, 1, 0.01);
    costs.record(1, 1, 5);
    expect(costs.seconds(1, 1)).toBeCloseTo(0.01, 10);
  });

  it.each([0, 0.001])('follow steps that have become much slower than %f seconds', (before) => {
    const costs = new StepCosts();
    for (let i = 0; i < 5; i++) costs.record(1, 1, before);
    for (let i = 0; i < 100; i++) costs.record(1, 1, 0.1);
    expect(costs.seconds(1, 1)).toBeCloseTo(0.1, 3);
  });
});
