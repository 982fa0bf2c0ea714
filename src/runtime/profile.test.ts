import { describe, expect, it } from 'vitest';
import { summarizeProfile } from './profile.ts';

const node = (opType: string, provider: string, dur: number) => ({
  cat: 'Node',
  name: `${opType}/y_kernel_time`,
  dur,
  args: { op_name: opType, provider },
});

describe('the engine’s profile', () => {
  it('is summed by op and provider, longest first', () => {
    const events = [
      { cat: 'Session', name: 'model_run', dur: 99_999, args: {} },
      node('Add', 'CPUExecutionProvider', 10),
      node('MatMul', 'CPUExecutionProvider', 1500),
      { ...node('MatMul', 'CPUExecutionProvider', 700), name: 'MatMul/y_fence_before' },
      node('MatMul', 'WebGpuExecutionProvider', 40),
      node('MatMul', 'CPUExecutionProvider', 500),
    ];
    expect(summarizeProfile(JSON.stringify(events))).toEqual([
      { opType: 'MatMul', provider: 'cpu', runs: 1, count: 2, ms: 2 },
      { opType: 'MatMul', provider: 'webgpu', runs: 1, count: 1, ms: 0.04 },
      { opType: 'Add', provider: 'cpu', runs: 1, count: 1, ms: 0.01 },
    ]);
  });

  it.each(['', '{}', '[{"cat": 1}]', '[{"cat": "Node", "name": "x", "dur": -1}]'])('is refused if it is %j', (json) => {
    expect(() => summarizeProfile(json)).toThrow(expect.objectContaining({ code: 'FORMAT' }));
  });
});
