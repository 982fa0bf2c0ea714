/** Hostile grammars, and large vocabularies: their time and memory. */
import { expect, it } from 'vitest';
import { byteTokenizer } from '../../tokenizer/bytes.ts';
import type { Tokenizer } from '../../tokenizer/text-tokens.ts';
import { ByteMachine, type MachineBudget } from './byte-machine.ts';
import { Grammars } from './grammar-constraint.ts';
import { schemaGrammar } from './json-schema.ts';
import { TokenTrie } from './token-trie.ts';

const letters = Array.from('abcdefghijklmnopqrstuvwxyz ');

/** Texts that begin alike in a thousand ways: the letter 21 characters from the end must be remembered. */
function hostilePattern(optional: number): string {
  const alternatives = letters.map((letter) => `[a-z ]*${letter}[a-z ]{20}`);
  return `^(${alternatives.join('|')}|([a-z ]?){${optional}})$`;
}

/** Bytes, then words of two to four letters, as many as there are. */
function largeVocabulary(size: number): Tokenizer {
  const bytes = byteTokenizer();
  const word = (id: number): Uint8Array => {
    const spelled: number[] = [];
    for (let rest = id; rest > 0 || spelled.length < 2; rest = Math.floor(rest / 27)) {
      spelled.push((letters[rest % 27] ?? ' ').charCodeAt(0));
    }
    return Uint8Array.from(spelled);
  };
  return {
    eosId: bytes.eosId,
    bosId: bytes.bosId,
    specialIds: bytes.specialIds,
    vocabularySize: size,
    encode: (text) => bytes.encode(text),
    decode: (tokens) => bytes.decode(tokens),
    bytesOf: (id) => (id < 256 ? Uint8Array.of(id) : word(id)),
  };
}

it.each([1, 20, 300])('a pattern with %i optional letters after many alternatives is refused', async (optional) => {
  const grammars = new Grammars(largeVocabulary(20_000), 20_000);
  const constraint = grammars.json({ type: 'string', pattern: hostilePattern(optional) }, [257]);
  const one = constraint.after(0);
  const text = [0x22];
  const write = async (): Promise<void> => {
    for (let written = 0; written < 100; written++) {
      await one.ready?.(text);
      one(text);
      expect(constraint.bytes).toBeLessThan(48 << 20);
      text.push((letters[(written * written) % 27] ?? ' ').charCodeAt(0));
    }
  };
  await expect(write()).rejects.toThrow(expect.objectContaining({ code: 'INPUT' }));
});

it('steps and bytes of a grammar are bounded, and grow with the text', () => {
  const budget: MachineBudget = { steps: 2000, stepsPerToken: 500, bytes: 32 << 20 };
  const machine = new ByteMachine(schemaGrammar({ type: 'string', pattern: hostilePattern(20) }), budget);
  const read = (): void => {
    let state = machine.start;
    for (const letter of '"what would you have of me') state = machine.step(state, letter.charCodeAt(0)) ?? state;
  };
  expect(read).toThrow(expect.objectContaining({ code: 'INPUT' }));
  expect(machine.steps).toBeLessThan(4000);
  for (let token = 0; token < 40; token++) machine.nextToken();
  expect(read).toThrow(expect.objectContaining({ code: 'INPUT' }));
  const small = new ByteMachine(schemaGrammar({ type: 'string', maxLength: 40 }), { ...budget, bytes: 64 << 10 });
  expect(() => {
    let state = small.start;
    for (let letter = 0; letter < 40; letter++) state = small.step(state, letter === 0 ? 0x22 : 0x61) ?? state;
  }).toThrow(expect.objectContaining({ code: 'INPUT' }));
});

it('long texts go on where states are made anew, with the same masks', () => {
  const schema = { type: 'string', maxLength: 3000 };
  const grammars = new Grammars(byteTokenizer(), 258);
  const one = grammars.json(schema, [257]).after(0);
  const text = [0x22];
  const machine = new ByteMachine(schemaGrammar(schema));
  let state = machine.step(machine.start, 0x22);
  for (let written = 0; written < 2999; written++) {
    text.push(0x61 + (written % 26));
    state = state && machine.step(state, text[text.length - 1]);
    machine.nextToken();
    const allowed = one(text);
    if (written % 500 !== 499 || state === null) continue;
    expect(allowed).toEqual(new TokenTrie(byteTokenizer(), 258).mask(machine, state));
  }
});

it('grammars that no text needs are kept within bytes, not by their number', () => {
  const grammars = new Grammars(byteTokenizer(), 258);
  const schema = (place: number): unknown => ({ type: 'string', enum: [String(place), 'x'.repeat(60_000)] });
  const first = grammars.json(schema(0), [257]);
  expect(grammars.json(schema(0), [257])).toBe(first);
  for (let place = 1; place < 60; place++) grammars.json(schema(place), [257]);
  expect(grammars.json(schema(59), [257])).toBe(grammars.json(schema(59), [257]));
  expect(grammars.json(schema(0), [257])).not.toBe(first);
});

it('a mask over 262,144 tokens gives the thread back in between, and equals that made at once', async () => {
  const tokenizer = largeVocabulary(1 << 18);
  const trie = new TokenTrie(tokenizer, 1 << 18);
  const machine = new ByteMachine(schemaGrammar({ type: 'object' }));
  const inString = Array.from('{"').reduce(
    (state, letter) => machine.step(state, letter.charCodeAt(0)) ?? state,
    machine.start,
  );
  let slices = 0;
  const walk = trie.slicedMask(machine, inString);
  let result = walk.next();
  for (; result.done !== true; result = walk.next()) slices++;
  // Each slice is 512 tokens of the tree, or some 4,096 of its nodes.
  expect(slices).toBeGreaterThan(1000);
  expect(result.value).toEqual(trie.mask(machine, inString));
  const grammars = new Grammars(tokenizer, 1 << 18);
  const one = grammars.json({ type: 'object' }, [1]).after(0);
  let turns = 0;
  let waiting = true;
  const count = (): void => {
    turns++;
    if (waiting) setImmediate(count);
  };
  setImmediate(count);
  await one.ready?.([0x7b]);
  waiting = false;
  expect(turns).toBeGreaterThan(3);
  expect(one.ready?.([0x7b])).toBeUndefined();
  expect(one([0x7b])?.[0x22]).toBe(1);
}, 20_000);
