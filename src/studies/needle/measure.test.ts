import { describe, expect, it } from 'vitest';
import { byteTokenizer } from '../../tokenizer/bytes.ts';
import type { GenerateRequest, Scorer, ScoreRequest } from '../../engine/scoring/scorer.ts';
import { measureNeedles, needleChance, type NeedleSettings, shareContained } from './measure.ts';
import { needleTaskNames } from './task.ts';

const sentences = ['The wind went round to the west.', 'Nobody had seen the harbour master since Monday.'];
const places = [2000, 3000].flatMap((length) => [0, 0.5].map((depth) => ({ length, depth })));
const settings = { questions: 3, seed: 1 };

/** Finds all that is hidden by reading the text: what a perfect model would answer. */
function found(context: string): string[] {
  const variables = /are assigned the value (\d+), they are:$/.exec(context);
  if (variables === null) {
    const [, listed = ''] = /numbers? for ([a-z, -]+) mentioned in the provided text (?:is|are)$/.exec(context) ?? [];
    const names = listed.split(/, (?:and )?/);
    return [...context.matchAll(/for ([a-z-]+) is: (\d+)\./g)]
      .filter(([, name]) => names.includes(name))
      .map(([, , value]) => value);
  }
  const names = [RegExp(`VAR ([A-Z]{5}) = ${variables[1]}\\.`).exec(context)?.[1] ?? ''];
  for (let next: string | undefined = names[0]; next !== undefined; ) {
    next = RegExp(`VAR ([A-Z]{5}) = VAR ${next}\\.`).exec(context)?.[1];
    if (next !== undefined) names.push(next);
  }
  return names;
}

/** A scorer that reads, or one that knows nothing. */
function imitated(reads: boolean): Scorer {
  return {
    usage: { tokensRead: 0, tokensReused: 0, tokensGenerated: 0 },
    rolling: () => Promise.resolve([]),
    generate: (requests: readonly GenerateRequest[]) =>
      Promise.resolve(requests.map(({ context }) => (reads ? ` ${found(context).join(', ').toLowerCase()}.` : ' 1.'))),
    score: (requests: readonly ScoreRequest[]) =>
      Promise.resolve(
        requests.map(({ context, continuation }) => ({
          logLikelihood: reads && found(context).includes(continuation.trim()) ? -1 : -9,
          isGreedy: false,
        })),
      ),
  };
}

describe('measureNeedles', () => {
  const cases = needleTaskNames.flatMap((task) =>
    (['generate', 'choose'] as const).map((answer) => ({ task, answer })),
  );
  it.each(cases)('$task, $answer: all for a model that reads, nothing for one that does not', async (asked) => {
    const cells = async (reads: boolean) => {
      const measure = (all: NeedleSettings) => measureNeedles(imitated(reads), byteTokenizer(), sentences, all);
      return await Promise.all(
        places.map(async (place) => ({ ...place, ...(await measure({ ...settings, ...asked, ...place })) })),
      );
    };
    const all = await cells(true);
    expect(all.map(({ length, depth, score, error }) => [length, depth, score, error])).toEqual([
      [2000, 0, 1, 0],
      [2000, 0.5, 1, 0],
      [3000, 0, 1, 0],
      [3000, 0.5, 1, 0],
    ]);
    const none = await cells(false);
    // With five right ones among eight, any five choices include at least two.
    const least = asked.answer === 'choose' && asked.task === 'variable-tracking' ? 0.4 : 0;
    for (const { score } of none) expect(score).toBeCloseTo(least, 12);
    expect(needleChance(asked.task)).toBeGreaterThan(0);
  });
});

describe('shareContained', () => {
  it('counts references whatever their case', () => {
    expect(shareContained(['ABC', '12'], 'so abc and 1, 2')).toBe(0.5);
  });
});
