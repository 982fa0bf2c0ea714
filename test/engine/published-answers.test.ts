/** Answers as other engines' tests have them: thoughts, text and calls, read whole and cut at every place and every byte. */
import { describe, expect, it } from 'vitest';
import { ThoughtReader } from '../../src/engine/thinking/thought-reader.ts';
import { CalledAnswer, CallReader } from '../../src/engine/tools/call-reader.ts';
import { byteTokenizer } from '../../src/tokenizer/bytes.ts';
import { TextStream } from '../../src/tokenizer/text-stream.ts';
import { present, thirdParty } from '../fixtures.ts';
import { type AnswerCase, llamaCases, ollamaCases, otherwise } from './published-answers.ts';

const folder = thirdParty('published');

interface Read {
  readonly thoughts: string;
  readonly content: string;
  readonly calls: readonly { readonly name: string; readonly json: string }[];
}

function read(given: AnswerCase, pieces: readonly string[]): Read {
  const { tools, functions, thinking, begun, goesOn, isPartial } = given;
  const answer = new CalledAnswer(
    tools && new CallReader(tools, functions),
    thinking && new ThoughtReader(thinking, begun),
  );
  for (const piece of [given.before, ...pieces]) answer.push(piece);
  if (!goesOn) answer.end();
  const calls = answer.calls.map(({ name, json }) => ({ name, json }));
  if (answer.isCut && !isPartial) calls.pop();
  return { thoughts: answer.thoughts, content: answer.content, calls };
}

/** Without blanks: engines differ in those around thoughts and calls. */
const squeezed = (text: string): string => text.replaceAll(/\s/g, '');

function check(given: AnswerCase, exact: boolean): void {
  const { text, thoughts, content, calls, isPartial } = given;
  const all = read(given, [text]);
  const shown = (value: string): string => (exact ? value : squeezed(value));
  if (thoughts !== undefined) expect(shown(all.thoughts.trim())).toBe(shown(thoughts.trim()));
  if (content !== undefined) expect(shown(all.content)).toBe(shown(content));
  if (calls !== undefined) {
    const values = (list: typeof calls) =>
      list.map(({ name, json }) => ({ name, value: isPartial ? json : (JSON.parse(json) as unknown) }));
    expect(values(all.calls)).toEqual(values(calls));
  }
  for (let cut = 0; cut <= text.length; cut++) {
    expect(read(given, [text.slice(0, cut), text.slice(cut)]), `cut at ${cut}`).toEqual(all);
  }
  expect(read(given, text.split(''))).toEqual(all);
  const bytes = new TextEncoder().encode(text);
  for (let cut = 0; cut <= bytes.length; cut++) {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    const before = decoder.decode(bytes.subarray(0, cut), { stream: true });
    expect(read(given, [before, decoder.decode(bytes.subarray(cut))]), `cut at byte ${cut}`).toEqual(all);
  }
  const stream = new TextStream(byteTokenizer());
  const pieces = Array.from(bytes, (byte) => stream.push(byte));
  expect(read(given, [...pieces, stream.flush()]), 'tokens of one byte').toEqual(all);
}

describe.skipIf(folder === undefined)('answers of the tests of llama.cpp', () => {
  const { cases, leftOut } = folder === undefined ? { cases: [], leftOut: [] } : llamaCases(folder);

  it.each(cases.map((given) => [given.name, given] as const))('%s', (_, given) => {
    check(given, true);
  });

  it('are left out where their template is of no family here', () => {
    expect(leftOut.every((name) => name.includes('functionary'))).toBe(true);
    expect([cases.length, leftOut.length]).toEqual([114, 6]);
  });
});

describe.skipIf(folder === undefined)('answers of the tests of Ollama', () => {
  const cases = folder === undefined ? [] : ollamaCases(present(folder));
  const [read, others] = [
    cases.filter(({ name }) => !(name in otherwise)),
    cases.filter(({ name }) => name in otherwise),
  ];

  it.each(read.map((given) => [given.name, given] as const))('%s', (_, given) => {
    check(given, false);
  });

  it.each(others.map((given) => [given.name, otherwise[given.name], given] as const))('%s: %s', (_, __, given) => {
    expect(() => {
      check(given, false);
    }).toThrow();
  });
});
