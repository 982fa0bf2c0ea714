import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { errorCode } from '../../../test/error-code.ts';
import { byteTokenizer } from '../../tokenizer/bytes.ts';
import { needleQuestion, readHaystack } from './question.ts';
import { needleTaskNames, needleTasks } from './task.ts';

const tokenizer = byteTokenizer();
const sentences = Array.from(
  { length: 40 },
  (_, i) => `The ${i}th ship of the line sailed on ${'further '.repeat(i % 5)}south.`,
);

const questions = fc.record({
  task: fc.constantFrom(...needleTaskNames),
  length: fc.integer({ min: 1600, max: 6000 }),
  depth: fc.double({ min: 0, max: 1, noNaN: true }),
  seed: fc.integer({ min: 0, max: 0xffffffff }),
});

/** How often a text occurs in another. */
function count(text: string, part: string): number {
  return text.split(part).length - 1;
}

/** What lies between the opening and the question. */
function haystackOf(context: string, needles: readonly string[]): { before: string; after: string } {
  const at = context.lastIndexOf(needles[0]);
  return { before: context.slice(0, at), after: context.slice(at) };
}

describe('needleQuestion', () => {
  it('hides every answer once, says it nowhere else, and keeps to the length', () => {
    fc.assert(
      fc.property(questions, (options) => {
        const question = needleQuestion(tokenizer, sentences, options);
        const { context, answers, wrong, tokens } = question;
        const tracked = options.task === 'variable-tracking';
        const sentence = (answer: string): string => (tracked ? `VAR ${answer} = ` : `is: ${answer}.`);
        for (const answer of answers) expect(count(context, sentence(answer))).toBe(1);
        for (const candidate of wrong)
          expect(count(context, sentence(candidate))).toBe(hiddenOf(options.task, candidate, wrong));
        expect(new Set([...answers, ...wrong]).size).toBe(8);
        expect(answers).toHaveLength(needleTasks[options.task].answers);
        expect(tokens).toBe(tokenizer.encode(context, { bos: true }).length);
        const room = options.length - needleTasks[options.task].answerTokens;
        expect(tokens).toBeLessThanOrEqual(room);
        // Another sentence of the haystack would not fit.
        expect(tokens + Math.max(...sentences.map(({ length }) => length)) + 2).toBeGreaterThan(room);
      }),
      { seed: 11, numRuns: 60 },
    );
  });

  it('puts the first needle at its depth, to one sentence, and the others of a chain after it in order', () => {
    fc.assert(
      fc.property(questions, (options) => {
        const { context, answers, depth } = needleQuestion(tokenizer, sentences, options);
        const tracked = options.task === 'variable-tracking';
        const { before, after } = haystackOf(context, [tracked ? `VAR ${answers[0]} = ` : `is: ${answers[0]}.`]);
        const [above, below] = [count(before, ' ship of the line'), count(after, ' ship of the line')];
        expect(depth).toBeCloseTo(above / (above + below), 10);
        expect(Math.abs(depth - options.depth)).toBeLessThanOrEqual(0.5 / (above + below) + 1e-9);
        const places = answers.map((answer) => context.lastIndexOf(tracked ? `VAR ${answer} = ` : `is: ${answer}.`));
        expect(places).toEqual(places.toSorted((a, b) => a - b));
      }),
      { seed: 12, numRuns: 60 },
    );
  });

  it('asks the same at every depth and length, and something else with another seed', () => {
    const options = { task: 'multi-key', length: 2500, depth: 0.2, seed: 5 } as const;
    const one = needleQuestion(tokenizer, sentences, options);
    expect(needleQuestion(tokenizer, sentences, options)).toEqual(one);
    expect(needleQuestion(tokenizer, sentences, { ...options, length: 4000, depth: 1 }).answers).toEqual(one.answers);
    expect(needleQuestion(tokenizer, sentences, { ...options, seed: 6 }).answers).not.toEqual(one.answers);
  });

  it('refuses lengths that nothing fits, and depths that are none', async () => {
    const options = { task: 'single', length: 200, depth: 0, seed: 1 } as const;
    expect(() => needleQuestion(tokenizer, sentences, options)).toThrow(/length is 200/);
    expect(await errorCode(() => needleQuestion(tokenizer, sentences, { ...options, length: 4000, depth: 1.5 }))).toBe(
      'INPUT',
    );
  });
});

/** The first three wrong candidates of `multi-key` are hidden under other names. */
function hiddenOf(task: string, candidate: string, wrong: readonly string[]): number {
  return task === 'multi-key' && wrong.indexOf(candidate) < 3 ? 1 : 0;
}

describe('readHaystack', () => {
  it('cuts documents into sentences', async () => {
    async function* documents() {
      yield { text: 'One  line\nwrapped. Another one! ', source: 'a' };
      yield await Promise.resolve({ text: `${'long '.repeat(100)}. Last?`, source: 'b' });
    }
    expect(await readHaystack(documents())).toEqual(['One line wrapped.', 'Another one!', 'Last?']);
  });
});
