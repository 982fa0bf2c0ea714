import { describe, expect, it } from 'vitest';
import { parseTreeFile } from './medusa-trees.ts';

describe('trees', () => {
  it('are read from a list of paths, and from an object', () => {
    expect(parseTreeFile('[[0],[0,1]]', 'tree.json')).toEqual([[0], [0, 1]]);
    expect(parseTreeFile('{"paths":[[0]],"method":"given"}', 'tree.json')).toEqual([[0]]);
  });

  it.each(['', '{}', '[]', '[[]]', '[["0"]]', '[[0,1]]', '[[0],[0]]', '[[999]]', 'null'])('refuse %j', (text) => {
    expect(() => parseTreeFile(text, 'tree.json')).toThrow(expect.objectContaining({ code: 'FORMAT' }));
  });
});
