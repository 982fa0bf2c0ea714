import { expect, it } from 'vitest';
import { noPositions } from '../../nn/positions.ts';
import { contextsWithin } from './decoding-speed.ts';

it.each([
  [Number.POSITIVE_INFINITY, 0, [64, 1024, 4096]],
  [1024, 0, [64, 1024]],
  [1024, 160, [64, 864]],
  [32, 100, [1]],
])('a limit of %d positions, of which %d are for the measurement, leaves %j', (limit, beyond, expected) => {
  expect(contextsWithin([64, 1024, 4096], { positions: { ...noPositions, limit } }, beyond)).toEqual(expected);
});
