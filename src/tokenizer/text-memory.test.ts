import { expect, it } from 'vitest';
import { TextMemory } from './text-memory.ts';

it('remembers no more than a million characters, the last ones', () => {
  const memory = new TextMemory();
  let encoded = 0;
  const take = (letter: string): void => {
    const text = letter.repeat(300_000);
    memory.set(text, memory.get(text) ?? Int32Array.of(encoded++));
  };
  for (const letter of 'abcacda') take(letter);
  expect(encoded).toBe(4);
  take('b');
  expect(encoded).toBe(5);
});
