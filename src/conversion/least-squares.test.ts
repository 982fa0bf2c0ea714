import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Random } from '../random.ts';
import { normalEquations } from './least-squares.ts';

it('finds the unknowns that made the equations, shared and of one part alone', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 1, max: 4 }), (seed, parts) => {
      const random = new Random(seed);
      const truth = Array.from({ length: 1 + 2 * parts }, () => random.normal());
      const equations = normalEquations(truth.length);
      for (let part = 0; part < parts; part++) {
        const indices = [0, 1 + 2 * part, 2 + 2 * part];
        const columns = indices.map(() => Float64Array.from({ length: 40 }, () => random.normal()));
        const target = Float64Array.from({ length: 40 }, (_, row) =>
          indices.reduce((sum, index, i) => sum + truth[index] * columns[i][row], 0),
        );
        equations.add(columns, indices, target);
      }
      equations.solve(1e-12).forEach((x, i) => expect(x).toBeCloseTo(truth[i], 6));
    }),
  );
});

it('leaves unknowns without a trace at zero, also when all are', () => {
  const equations = normalEquations(3);
  expect([...equations.solve()]).toEqual([0, 0, 0]);
  equations.add([Float64Array.of(1, 2)], [1], Float64Array.of(2, 4));
  const [first, second, third] = equations.solve(1e-9);
  expect([first, third]).toEqual([0, 0]);
  expect(second).toBeCloseTo(2, 6);
  expect([...normalEquations(0).solve()]).toEqual([]);
});

it('refuses what is not finite', () => {
  const equations = normalEquations(1);
  equations.add([Float64Array.of(Number.NaN)], [0], Float64Array.of(1));
  expect(() => equations.solve()).toThrow(/not finite/);
});
