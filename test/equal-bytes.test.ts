import { expect, it } from 'vitest';

const ramp = (length: number): Float32Array => Float32Array.from({ length }, (_, i) => i);

it('equal numbers of one type are equal, others are not', () => {
  expect(ramp(100)).toEqual(ramp(100));
  expect({ data: ramp(9).subarray(1) }).toEqual({ data: Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8) });
  expect(Float32Array.of(Number.NaN, 1)).toEqual(Float32Array.of(Number.NaN, 1));
  expect(ramp(100)).not.toEqual(ramp(99));
  expect(ramp(3)).not.toEqual(Float32Array.of(0, 1, 3));
  expect(Float32Array.of(0)).not.toEqual(Float32Array.of(-0));
  expect(Float32Array.of(0, 0)).not.toEqual(Float64Array.of(0));
});

it('a million numbers take no time', () => {
  const [one, other] = [ramp(1 << 20), ramp(1 << 20)];
  const started = process.cpuUsage();
  expect(one).toEqual(other);
  expect(process.cpuUsage(started).user).toBeLessThan(500_000);
});
