/** Rounds draft where that gives more tokens a second, by what steps are measured to cost and drafts to bring. */
import { describe, expect, it } from 'vitest';
import { RoundPacing, type TextPace } from './round-pacing.ts';
import { nodeBucket, StepCosts } from './step-costs.ts';

/** A machine that runs eight nodes in the time of one, and more in proportion. */
const seconds = (rows: number, nodes: number): number => 0.01 * Math.max(1, (rows * nodes) / 8);

interface Drafts {
  readonly nodes: number;
  readonly tokens: number;
}

/** Runs rounds of texts with such drafts, and some that never draft. Returns the share of rounds that drafted. */
function run(
  pacing: RoundPacing,
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

const texts = (pacing: RoundPacing, count: number): TextPace[] => Array.from({ length: count }, () => pacing.newText());

describe('rounds', () => {
  const good = { nodes: 8, tokens: 3 };

  it('draft where a few texts leave the machine time, and not where many fill it', () => {
    const pacing = new RoundPacing();
    expect(run(pacing, texts(pacing, 1), good)).toBeGreaterThan(0.95);
    expect(run(pacing, texts(pacing, 2), good)).toBeGreaterThan(0.95);
    expect(run(pacing, texts(pacing, 8), good)).toBeLessThan(0.1);
    expect(run(pacing, texts(pacing, 1), good)).toBeGreaterThan(0.95);
  });

  it('do not draft for one text what others pay for', () => {
    const pacing = new RoundPacing();
    expect(run(pacing, texts(pacing, 1), good, { others: 7 })).toBeLessThan(0.1);
    const cheap = new RoundPacing();
    expect(run(cheap, texts(cheap, 2), { nodes: 2, tokens: 1.9 }, { others: 2 })).toBeGreaterThan(0.95);
  });

  it('stop drafting where it brings nothing, and notice when it does again', () => {
    const pacing = new RoundPacing();
    const one = texts(pacing, 1);
    const useless = { nodes: 16, tokens: 1 };
    expect(run(pacing, one, useless)).toBeLessThan(0.15);
    run(pacing, one, good, { rounds: 200 });
    expect(run(pacing, one, good)).toBeGreaterThan(0.95);
  });

  it('of texts that do not draft decide nothing, and are measured once a text drafts', () => {
    const pacing = new RoundPacing();
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
});
