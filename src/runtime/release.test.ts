import { describe, expect, it } from 'vitest';
import { release } from './release.ts';

describe('release', () => {
  it('frees whole buffers at once, each only once', () => {
    const before = process.memoryUsage().arrayBuffers;
    const all = new Float32Array(2 ** 22);
    const others = new Float32Array(8);
    expect(process.memoryUsage().arrayBuffers - before).toBeGreaterThanOrEqual(all.byteLength);
    release([all.subarray(4), all.subarray(0, 4), others]);
    expect([all.length, others.length]).toEqual([0, 0]);
    release([all, others]);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 22);
  });
});
