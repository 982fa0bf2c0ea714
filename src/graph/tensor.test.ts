import { describe, expect, it } from 'vitest';
import { float32, int32, isDType, tensor, tensorBytes, tensorFromBytes } from './tensor.ts';

describe('tensors as bytes', () => {
  it('sees the same memory', () => {
    const original = int32([2], [1, 258]);
    expect([...tensorBytes(original)]).toEqual([1, 0, 0, 0, 2, 1, 0, 0]);
    const view = tensorFromBytes('int32', [2], tensorBytes(original));
    view.data[0] = 7;
    expect(original.data[0]).toBe(7);
  });

  it('respects the offset of a view', () => {
    const whole = float32([4], [1, 2, 3, 4]);
    const part = tensor('float32', [2], whole.data.subarray(2));
    expect(tensorFromBytes('float32', [2], tensorBytes(part))).toEqual(float32([2], [3, 4]));
  });

  it('copies bytes that are not aligned', () => {
    const bytes = new Uint8Array(9);
    bytes.set(tensorBytes(float32([2], [1.5, -2])), 1);
    const read = tensorFromBytes('float32', [2], bytes.subarray(1));
    expect(read).toEqual(float32([2], [1.5, -2]));
    expect(read.data.buffer).not.toBe(bytes.buffer);
  });

  it('refuses a wrong number of bytes', () => {
    expect(() => tensorFromBytes('float16', [3], new Uint8Array(4))).toThrow('has 6 bytes, the data has 4');
  });

  it('knows the names of element types', () => {
    expect(['float16', 'bool', 'string', 'toString', ''].map(isDType)).toEqual([true, true, false, false, false]);
  });
});
