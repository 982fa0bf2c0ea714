import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseHeader } from '../../src/checkpoint/safetensors/header.ts';
import { checkJsonLimits, parseJsonObject } from '../../src/files/json-object.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const nested = (levels: number): Uint8Array => bytes(`{"a":${'['.repeat(levels)}${']'.repeat(levels)}}`);

describe('bounds of JSON', () => {
  it('are depth, containers and values, whatever stands in strings', () => {
    const text = bytes('{"[[[{,,,\\"[,":[1,2],"b":{"c":["]",3]}}');
    expect(() => checkJsonLimits(text, 'x', { depth: 3, containers: 4, values: 4 })).not.toThrow();
    expect(() => checkJsonLimits(text, 'x', { depth: 2 })).toThrow(/x is nested deeper than 2/);
    expect(() => checkJsonLimits(text, 'x', { containers: 3 })).toThrow(/more than 3 objects and lists/);
    expect(() => checkJsonLimits(text, 'x', { values: 2 })).toThrow(/more than 2 values/);
  });

  it('leave ordinary JSON alone', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 5 }), (json) => {
        expect(() => checkJsonLimits(bytes(json), 'x')).not.toThrow();
      }),
      { seed: 3, numRuns: 300 },
    );
  });

  it('hold for every file that is one JSON object', () => {
    expect(() => parseJsonObject(nested(63), 'config.json')).not.toThrow();
    expect(() => parseJsonObject(nested(64), 'config.json')).toThrow(/nested deeper than 64/);
    expect(() => parseJsonObject(nested(3_000_000), 'config.json')).toThrow(/nested deeper than 64/);
  });

  it('refuse a header of a million empty tensors at once', () => {
    const entry = ':{"dtype":"F32","shape":[0],"data_offsets":[0,0]}';
    const header = bytes(`{${Array.from({ length: 1_000_000 }, (_, i) => `"t${i}"${entry}`).join(',')}}`);
    const started = performance.now();
    expect(() => parseHeader(header, 0, 'model.safetensors')).toThrow(/model\.safetensors: the header has more than/);
    expect(performance.now() - started).toBeLessThan(2000);
  });
});
