import { describe, expect, it } from 'vitest';
import { refusal } from '../../../test/error-code.ts';
import { dataOf, tensor } from '../../graph/tensor.ts';
import { parsePlan } from '../frame/study.ts';
import { recallMethods, startingAt } from './plan.ts';
import { recallStudy } from './study.ts';

const parameters = new Map([
  ['layers.0.filter', tensor('float32', [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6))],
  ['layers.1.filter', tensor('float32', [1, 3], Float32Array.of(1, 2, 3))],
]);

describe('startingAt', () => {
  it.each([
    ['a number for all elements', { filter: 7 }, [7, 7, 7, 7, 7, 7], [7, 7, 7]],
    ['numbers that are repeated', { filter: [0, 1, -1] }, [0, 1, -1, 0, 1, -1], [0, 1, -1]],
    ['a factor of what was drawn', { filter: { scale: 2 } }, [2, 4, 6, 8, 10, 12], [2, 4, 6]],
    ['one layer by the longer end of its name', { '0.filter': 0 }, [0, 0, 0, 0, 0, 0], [1, 2, 3]],
  ])('takes %s', (_, initial, first, second) => {
    const started = startingAt(parameters, initial);
    expect([...started.values()].map((value) => [...dataOf(value, 'float32')])).toEqual([first, second]);
  });

  it.each([
    ['a name that nothing has', { gate: 1 }, "no parameter's name ends with"],
    ['numbers that do not divide the elements', { filter: [1, 2, 3, 4] }, 'a divisor'],
  ])('refuses %s', (_, initial, part) => {
    expect(() => startingAt(parameters, initial)).toThrow(refusal('CONFIG', part));
  });
});

it('lets a plan name the mixer of the first layer, and a method start elsewhere than the plan', () => {
  const plan = parsePlan(
    recallStudy.definition,
    {
      version: 1,
      task: 'mqar',
      title: 'x',
      config: {},
      seeds: [1],
      initial: { a: 1, b: 2 },
      first: { preset: 'sliding-window', window: 1, initial: { c: [1, 2] } },
      methods: { one: { preset: 'softmax', initial: { b: 3 } }, two: { preset: 'global' } },
      lessons: [{ length: 16, pairs: 2, steps: 1, batch: 1, learningRate: 0.1 }],
      tests: [{ length: 16, pairs: 2, rows: 1 }],
    },
    'a test',
  );
  const methods = recallMethods(plan);
  expect(methods.get('one')).toMatchObject({ mixer: { kind: 'softmax' }, initial: { a: 1, b: 3, c: [1, 2] } });
  expect(methods.get('two')).toMatchObject({
    first: { kind: 'window', window: 1 },
    initial: { a: 1, b: 2, c: [1, 2] },
  });
});
