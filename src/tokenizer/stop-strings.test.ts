import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StopStringMatcher } from './stop-strings.ts';

/** The definition, on the whole text: the first end of a stop string, and the longest that ends there. */
function reference(text: string, stops: readonly string[]): { text: string; match?: string } {
  for (let end = 1; end <= text.length; end++) {
    const [match] = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length);
    if (match !== undefined) return { text: text.slice(0, end - match.length), match };
  }
  return { text };
}

describe('StopStringMatcher', () => {
  it('holds back what may become a stop string', () => {
    const matcher = new StopStringMatcher(['END', 'x']);
    expect(matcher.push('a E')).toEqual({ text: 'a ' });
    expect(matcher.push('N')).toEqual({ text: '' });
    expect(matcher.push('E')).toEqual({ text: 'EN' });
    expect(matcher.push('ND of it')).toEqual({ text: '', match: 'END' });
    expect(matcher.push('more')).toEqual({ text: '', match: 'END' });
    expect(matcher.flush()).toBe('');
  });

  it('gives back what it held when the stream ends', () => {
    const matcher = new StopStringMatcher(['END']);
    expect(matcher.push('the EN')).toEqual({ text: 'the ' });
    expect(matcher.flush()).toBe('EN');
  });

  it('lets everything pass without stop strings and refuses an empty one', () => {
    expect(new StopStringMatcher([]).push('abc')).toEqual({ text: 'abc' });
    expect(() => new StopStringMatcher(['a', ''])).toThrow(expect.objectContaining({ code: 'INPUT' }));
  });

  it('finds what a search of the whole text finds, however the text is cut', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(fc.array(letters, { maxLength: 8 }), fc.array(letters, { maxLength: 3 }), (pieces, stops) => {
        const matcher = new StopStringMatcher(stops);
        let text = '';
        let match: string | undefined;
        for (const piece of pieces) {
          const result = matcher.push(piece);
          text += result.text;
          match = result.match;
        }
        text += matcher.flush();
        const expected = reference(pieces.join(''), stops);
        expect({ text, match }).toEqual({ text: expected.text, match: expected.match });
      }),
      { seed: 7, numRuns: 2000 },
    );
  });
});
