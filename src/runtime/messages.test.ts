import { expect, it } from 'vitest';
import { float32 } from '../graph/tensor.ts';
import { copyTensors, memoryOf } from './messages.ts';

it('writes feeds into memory that is given back, where it has their size', () => {
  const spare = [new ArrayBuffer(8), new ArrayBuffer(12)];
  const [eight, twelve] = spare;
  const whole = new Float32Array([9, 1, 2, 3, 9]);
  const feeds = { a: float32([3], whole.subarray(1, 4)), b: float32([3], new Float32Array([4, 5, 6])) };
  const handover = new Set<ArrayBuffer>();
  const messages = copyTensors(feeds, handover, spare);
  expect(messages.a.data.buffer).toBe(twelve);
  expect(messages.b.data.buffer).not.toBe(twelve);
  expect(spare).toEqual([eight]);
  expect(memoryOf(messages)).toEqual([...handover]);
  expect(Object.values(messages).map(({ data }) => [...data])).toEqual([
    [1, 2, 3],
    [4, 5, 6],
  ]);
});
