import { expect, it } from 'vitest';
import { imitatesGpu } from './imitated-gpu.ts';

it('a machine has a GPU where a driver has its file', () => {
  expect(imitatesGpu(['/nowhere', '/dev/null'])).toBe(false);
  expect(imitatesGpu(['/nowhere'])).toBe(process.platform === 'linux');
});
