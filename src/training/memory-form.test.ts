import { describe, expect, it } from 'vitest';
import type { CodeForm } from '../checkpoint/weight-file.ts';
import { codedMemory, engineMemory } from './memory-form.ts';
import { processBytes } from './step-cost.ts';

describe('the memory of an engine in codes', () => {
  // The table of docs/reference/formats.md.
  const forms: readonly (readonly [name: string, form: CodeForm, bytes: number])[] = [
    ['Q4_0', { bits: 4, size: 32, minima: false }, 0.875],
    ['Q4_K', { bits: 4, size: 32, minima: true }, 1.015625],
    ['Q8_0', { bits: 8, size: 32, minima: false }, 1.375],
    ['Q5_K', { bits: 8, size: 32, minima: true }, 1.53125],
    ['Q6_K', { bits: 8, size: 16, minima: false }, 1.75],
    ['GPTQ in groups of 128', { bits: 4, size: 128, minima: false, zeros: true }, 0.59765625],
  ];
  const [outputs, inputs] = [64, 256];
  const parameters = new Map([
    ['matrix', { shape: [outputs, inputs] }],
    ['norm', { shape: [inputs] }],
  ]);

  it.each(forms)('counts %s', (_, form, bytes) => {
    const codes = (name: string) =>
      name === 'matrix'
        ? {
            form,
            outputs,
            inputs,
            async *pieces() {
              /* no numbers */
            },
          }
        : undefined;
    expect(codedMemory(parameters, codes) - processBytes).toBe(bytes * outputs * inputs + 5 * inputs);
  });

  it('is that of float32 without codes', () => {
    expect(codedMemory(parameters, () => undefined)).toBe(engineMemory(parameters, 'f32'));
  });
});
