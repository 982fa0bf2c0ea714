/** What texts under a schema come to. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { tokenBytes } from '../../tokenizer/token-bytes.ts';
import { byteTokenizer } from '../../tokenizer/bytes.ts';
import { Random } from '../../random.ts';
import { ByteMachine, utf8Ranges } from './byte-machine.ts';
import { JsonConstraint } from './grammar-constraint.ts';
import { schemaGrammar } from './json-schema.ts';
import { TokenTrie } from './token-trie.ts';

function accepts(schema: unknown, text: string): boolean {
  const machine = new ByteMachine(schemaGrammar(schema));
  let state = machine.start;
  for (const byte of new TextEncoder().encode(text)) {
    const after = machine.step(state, byte);
    if (after === null) return false;
    state = after;
  }
  return state.accepts;
}

const person = {
  type: 'object',
  properties: {
    name: { type: 'string' },
    age: { type: 'integer', minimum: 0, maximum: 130 },
    tags: { type: 'array', items: { enum: ['a', 'b'] } },
  },
  required: ['name'],
};

const cases: readonly (readonly [string, unknown, readonly unknown[], readonly unknown[]])[] = [
  ['any object', { type: 'object' }, [{}, { a: [1, { b: null }] }, { 'ü"\\\n': 'é😀' }], [1, [], 'x', null]],
  ['anything', true, [1, -0.5, 1e21, 'x', [[], {}], true, null], []],
  ['types', { type: ['string', 'null'] }, ['', null], [1, {}]],
  [
    'properties',
    person,
    [{ name: 'x' }, { name: 'x', age: 130 }, { name: '', age: 0, tags: ['a', 'b'] }, { name: 'x', tags: [] }],
    [
      {},
      { age: 1 },
      { name: 'x', age: 131 },
      { name: 'x', age: -1 },
      { name: 1 },
      { name: 'x', other: 1 },
      { name: 'x', tags: ['c'] },
    ],
  ],
  [
    'optional ones only',
    { properties: { a: true, b: true } },
    [{}, { a: 1 }, { b: 1 }, { a: 1, b: 2 }],
    [{ b: 1, a: 2 }, { c: 1 }],
  ],
  [
    'other names',
    { properties: { ab: { type: 'integer' } }, additionalProperties: { type: 'string' } },
    [{}, { ab: 1 }, { ab: 1, a: 'x', abc: 'y' }, { b: 'x' }, { '': '' }, { aé: '' }],
    [{ ab: 'x' }, { b: 1 }],
  ],
  ['records', z.toJSONSchema(z.record(z.string(), z.int())), [{}, { a: 1, '': 2 }], [{ a: 'x' }, []]],
  [
    'records by names of a form',
    z.toJSONSchema(z.record(z.string().regex(/^[a-c]{2}$/), z.null())),
    [{}, { ab: null, ca: null }],
    [{ a: null }, { abc: null }, { ab: 1 }],
  ],
  [
    'records by listed names',
    z.toJSONSchema(z.record(z.enum(['a', 'b']), z.boolean())),
    [{ a: true, b: false }],
    [{ a: true }, {}, { a: true, b: false, c: true }],
  ],
  ['records without names', { propertyNames: { enum: ['a'] }, additionalProperties: false }, [{}], [{ a: 1 }]],
  ['records by any names', { propertyNames: true, additionalProperties: { type: 'null' } }, [{ a: null }], [{ a: 1 }]],
  ['records by some of listed names', { propertyNames: { enum: ['a', 'b'] } }, [{}, { b: 1 }], [{ c: 1 }, 1]],
  [
    'lists',
    { type: 'array', items: { type: 'integer' }, minItems: 1, maxItems: 3 },
    [[1], [1, 2, 3]],
    [[], [1, 2, 3, 4], ['x']],
  ],
  [
    'tuples',
    { prefixItems: [{ type: 'string' }, { type: 'null' }], minItems: 1 },
    [['x'], ['x', null]],
    [[], [null], ['x', null, 1]],
  ],
  ['constants', { enum: ['a', 1, null, { b: [1] }] }, ['a', 1, null, { b: [1] }], ['b', 2]],
  [
    'alternatives',
    { anyOf: [{ type: 'integer' }, { type: 'object', properties: { a: { const: 1 } }, required: ['a'] }] },
    [1, { a: 1 }],
    ['x', { a: 2 }, {}],
  ],
  ['lengths', { type: 'string', minLength: 2, maxLength: 3 }, ['ab', 'éé', '😀😀😀', '\n"\\'], ['a', 'abcd', '']],
  [
    'patterns',
    { type: 'string', pattern: '^[a-c]{2,3}(x|"\\d+)?$' },
    ['ab', 'abc', 'abx', 'ab"12'],
    ['a', 'abcd', 'ab"', 'xab'],
  ],
  ['patterns of anchored alternatives', { pattern: '^a|^b$|c$' }, ['a', 'ax', 'b', 'c', 'xc'], ['bx', 'xa', 'cx', '']],
  ['base64, as zod has it', z.toJSONSchema(z.base64()), ['', 'QQ==', 'QUE=', 'QUFB'], ['Q', 'QQ=', 'QQ==x']],
  ['patterns anywhere', { pattern: 'b+' }, ['b', 'abc', '"b'], ['a', '']],
  [
    'whole numbers',
    { type: 'integer', minimum: -12, exclusiveMaximum: 105 },
    [-12, -5, 0, 7, 99, 104],
    [-13, 105, 1000, 1.5],
  ],
  ['numbers', { type: 'number', exclusiveMinimum: 0, maximum: 10 }, [0.5, 1, 9.25, 10], [0, -1, 10.5, 11]],
  ['negative numbers', { type: 'number', minimum: -3, exclusiveMaximum: -1 }, [-3, -1.5, -2], [-1, -3.5, -0.5, 0, 1]],
  [
    'numbers between fractions',
    z.toJSONSchema(z.number().gt(-1.25).max(0.07)),
    [-1.2, -1.249999, -1, -0.5, 0, 0.000001, 0.069999, 0.07],
    [-1.25, -1.26, 0.07001, 0.1, 1, -2],
  ],
  ['numbers from a fraction', z.toJSONSchema(z.number().min(0.5)), [0.5, 0.55, 1, 12.5, 123456789012345], [0.4, 0, -1]],
  ['float32', z.toJSONSchema(z.float32()), [0, -0.5, 123456789012345.5], [1e39, 1e21]],
  ['float64', z.toJSONSchema(z.float64()), [0, -0.5, 123456789012345.5], []],
  [
    'durations',
    z.toJSONSchema(z.iso.duration()),
    ['P3W', 'P1Y2M3DT4H5M6.7S', 'PT5M', 'P2DT1S'],
    ['P', 'PT', 'P1YT', 'P1W2D', 'P1D2M'],
  ],
  ['host names', z.toJSONSchema(z.hostname()), ['localhost', 'a.b-c.example.', '127.0.0.1'], ['', '-a', 'a..b', 'a_b']],
  [
    'nothing for a name',
    z.toJSONSchema(z.object({ a: z.never().optional(), b: z.null() })),
    [{ b: null }],
    [{ a: 1, b: null }],
  ],
  ['nothing in a list', z.toJSONSchema(z.array(z.never())), [[]], [[1]]],
  ['nothing or something', z.toJSONSchema(z.union([z.never(), z.null()])), [null], [1]],
  ['dates', { type: 'string', format: 'date' }, ['2026-11-25'], ['2026-13-01', 'x']],
  [
    'trees',
    {
      $ref: '#/$defs/node',
      $defs: {
        node: {
          type: 'object',
          properties: { left: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] } },
          required: ['left'],
        },
      },
    },
    [{ left: null }, { left: { left: { left: null } } }],
    [{}, { left: 1 }],
  ],
];

describe('schemas', () => {
  it.each(cases)('%s', (_, schema, good, bad) => {
    // Values of a list are written in one way alone.
    const indents = JSON.stringify(schema).includes('enum') ? [0] : [0, 2];
    for (const value of good) {
      for (const indent of indents) {
        const written = JSON.stringify(value, null, indent);
        expect(accepts(schema, written), written).toBe(true);
      }
    }
    for (const value of bad) expect(accepts(schema, JSON.stringify(value)), JSON.stringify(value)).toBe(false);
  });

  it('have few blanks between their parts, so that no text is all space', () => {
    for (const blanks of ['', ' ', '\n', `\n${' '.repeat(20)}`]) {
      expect(accepts({ type: 'object' }, `${blanks}{${blanks}"a":${blanks}1${blanks}}`)).toBe(true);
    }
    for (const blanks of ['  ', '\n\n', `\n${' '.repeat(21)}`, '\t']) {
      expect(accepts({ type: 'object' }, `${blanks}{}`), JSON.stringify(blanks)).toBe(false);
      expect(accepts({ type: 'object' }, `{"a":${blanks}1}`), JSON.stringify(blanks)).toBe(false);
    }
  });

  it('of whole numbers are exact at their bounds', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -2000, max: 2000 }),
        fc.integer({ min: -2000, max: 2000 }),
        fc.integer({ min: -2200, max: 2200 }),
        (a, b, value) => {
          const [minimum, maximum] = [Math.min(a, b), Math.max(a, b)];
          expect(accepts({ type: 'integer', minimum, maximum }, String(value))).toBe(
            minimum <= value && value <= maximum,
          );
        },
      ),
      { seed: 1, numRuns: 150 },
    );
  });

  it('of numbers are exact at their bounds', () => {
    const bound = fc.integer({ min: -30_000, max: 30_000 }).map((units) => units / 1000);
    const value = fc.integer({ min: -310_000, max: 310_000 }).map((units) => units / 10_000);
    fc.assert(
      fc.property(bound, bound, fc.oneof(value, bound), fc.boolean(), (a, b, number, isOpen) => {
        const [least, most] = [Math.min(a, b), Math.max(a, b) + 1];
        const schema = { type: 'number', [isOpen ? 'exclusiveMinimum' : 'minimum']: least, exclusiveMaximum: most };
        const expected = (isOpen ? number > least : number >= least) && number < most;
        expect(accepts(schema, String(number))).toBe(expected);
      }),
      { seed: 1, numRuns: 300 },
    );
  });

  it('of any JSON are read or refused', () => {
    const words = fc.constantFrom(
      'type',
      'items',
      'properties',
      'enum',
      'anyOf',
      '$ref',
      'pattern',
      'required',
      'minimum',
      'additionalProperties',
      'minItems',
      'prefixItems',
    );
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom<unknown>(
          'string',
          'object',
          'array',
          'integer',
          '#',
          1,
          -1,
          true,
          null,
          [],
          ['a'],
          '^a+$',
          '[',
          '(?',
        ),
        fc.dictionary(words, tie('tree'), { maxKeys: 3 }),
      ),
    }));
    fc.assert(
      fc.property(tree, (schema) => {
        try {
          expect(new ByteMachine(schemaGrammar(schema)).start.threads.length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toMatchObject({ code: 'INPUT' });
        }
      }),
      { seed: 1, numRuns: 1000 },
    );
  });
});

it('ranges of code points are those of UTF-8', () => {
  const matches = (bytes: Uint8Array, range: readonly [number, number]): number =>
    utf8Ranges(range).filter(
      (parts) =>
        parts.length === bytes.length && parts.every(([first, last], i) => first <= bytes[i] && bytes[i] <= last),
    ).length;
  const point = fc.integer({ min: 0, max: 0x10ffff }).filter((code) => code < 0xd800 || code > 0xdfff);
  fc.assert(
    fc.property(point, point, point, (a, b, code) => {
      const range = [Math.min(a, b), Math.max(a, b)] as const;
      const bytes = new TextEncoder().encode(String.fromCodePoint(code));
      expect(matches(bytes, range)).toBe(range[0] <= code && code <= range[1] ? 1 : 0);
    }),
    { seed: 1, numRuns: 2000 },
  );
});

const shape = z.strictObject({
  kind: z.enum(['whale', 'ship']),
  name: z.string().max(12),
  size: z.int().min(1).max(500),
  ratio: z.number().gt(0).max(3),
  inner: z.strictObject({ ok: z.boolean(), list: z.array(z.union([z.int(), z.null()])).max(3) }).optional(),
});

describe('any choice of allowed tokens', () => {
  const tokenizers = [
    ['of a BPE', () => loadTokenizer(new URL('../../../assets/tiny-llama', import.meta.url).pathname)],
    ['of bytes', () => Promise.resolve(byteTokenizer())],
  ] as const;
  it.each(tokenizers)('%s ends as JSON of the schema', async (_, load) => {
    const tokenizer = await load();
    const trie = new TokenTrie(tokenizer, tokenizer.vocabularySize + 3);
    const eos = tokenizer.eosId ?? 0;
    const json = new JsonConstraint(z.toJSONSchema(shape), trie, [eos]);
    const random = new Random(1);
    for (let made = 0; made < 40; made++) {
      const constraint = json.after(2);
      const text = [5, 6];
      for (;;) {
        const allowed = constraint(text) ?? new Uint8Array(0);
        const ids = [...allowed.keys()].filter((id) => allowed[id] === 1);
        const token = ids[Math.floor(random.uniform() * ids.length)];
        if (token === eos) break;
        text.push(token);
        expect(text.length).toBeLessThan(2000);
      }
      const value: unknown = JSON.parse(tokenizer.decode(text.slice(2)));
      expect(shape.safeParse(value).success, JSON.stringify(value)).toBe(true);
    }
  });

  it('is the same when a text goes back and takes another way', async () => {
    const tokenizer = byteTokenizer();
    const trie = new TokenTrie(tokenizer, 258);
    const json = new JsonConstraint({ enum: ['abc', 'axy'] }, trie, [257]);
    const one = json.after(0);
    const next = (text: string): string => {
      const allowed = one([...tokenizer.encode(text)]) ?? new Uint8Array(0);
      return [...allowed.keys()]
        .filter((id) => allowed[id] === 1)
        .map((id) => (id === 257 ? '$' : String.fromCharCode(id)))
        .join('');
    };
    expect(['"a', '"ab', '"abc', '"abc"', '"ax', '"a', '"axy"'].map(next)).toEqual([
      'bx',
      'c',
      '"',
      '$',
      'y',
      'bx',
      '$',
    ]);
    expect(() => next('"z')).toThrow(expect.objectContaining({ code: 'INPUT' }));
  });
});

it('bytes of tokens, joined, are those of the text', async () => {
  const tokenizer = await loadTokenizer(new URL('../../../assets/tiny-llama', import.meta.url).pathname);
  const bytesOf = tokenBytes(tokenizer);
  const text = 'A whale é😀 said:\n"no"';
  const bytes = [...tokenizer.encode(text)].flatMap((id) => [...(bytesOf(id) ?? [])]);
  expect(new TextDecoder().decode(Uint8Array.from(bytes))).toBe(text);
});
