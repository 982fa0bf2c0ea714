/** Answer streams cut at any byte, and the facts measured in them. */
import { describe, expect, it } from 'vitest';
import { addCallPiece, type AnswerPiece, pieceOf, readAnswer } from './answer-stream.ts';
import { FactsOfAnswer, noFacts } from './live-facts.ts';

const tree = { tokens: ['a', ' b', ' c'], parents: [-1, 0, 0], accepted: [0, 2], next: 'd' };

/** A stream of the text in packets of `size` bytes. */
function stream(text: string, size: number): ReadableStream<Uint8Array<ArrayBuffer>> {
  const bytes = new TextEncoder().encode(text);
  return new ReadableStream({
    start(controller) {
      for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
      controller.close();
    },
  });
}

async function collect(text: string, size: number): Promise<AnswerPiece[]> {
  const pieces: AnswerPiece[] = [];
  for await (const piece of readAnswer(stream(text, size))) pieces.push(piece);
  return pieces;
}

const events = [
  { choices: [{ delta: { role: 'assistant', content: null } }], linnet: { position: 3, state_bytes: 100, cached: 2 } },
  { choices: [{ delta: { content: 'é' } }], linnet: { position: 4, state_bytes: 100, trees: [tree] } },
  { choices: [{ text: '😀' }] },
  { choices: [{ delta: {}, finish_reason: 'length' }], linnet: { written: 2, rounds: 1, tokens_per_second: 8 } },
];
const body = `: ping\n\n${events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join('')}data: [DONE]\n\n`;

describe('a streamed answer', () => {
  it.each([1, 2, 7, 10_000])('is the same in packets of %i bytes', async (size) => {
    const pieces = await collect(body, size);
    expect(pieces.map(({ text }) => text).join('')).toBe('é😀');
    expect(pieces[0]).toMatchObject({ text: '', position: 3, stateBytes: 100, cached: 2 });
    expect(pieces[1].trees).toEqual([tree]);
    expect(pieces[3]).toMatchObject({ finish: 'length', written: 2, rounds: 1, tokensPerSecond: 8 });
  });

  it('joins the pieces of calls', () => {
    const deltas = [
      [{ index: 0, id: 'a', type: 'function', function: { name: 'f', arguments: '' } }],
      [{ index: 0, function: { arguments: '{"x":' } }],
      [
        { index: 0, function: { arguments: '1}' } },
        { index: 1, id: 'b', function: { name: 'g', arguments: '{}' } },
      ],
      'odd',
    ];
    const pieces = deltas.map((tool_calls) => pieceOf({ choices: [{ delta: { tool_calls } }] }));
    expect(pieces.flatMap(({ calls }) => calls).reduce<ReturnType<typeof addCallPiece>>(addCallPiece, [])).toEqual([
      { id: 'a', name: 'f', json: '{"x":1}' },
      { id: 'b', name: 'g', json: '{}' },
    ]);
    expect(pieceOf({ choices: [{ delta: {}, finish_reason: 'tool_calls' }] }).finish).toBe('calls');
  });

  it('separates thoughts from the text', () => {
    const chunk = { choices: [{ delta: { reasoning_content: 'A bird?', content: null } }] };
    expect(pieceOf(chunk)).toMatchObject({ text: '', thoughts: 'A bird?' });
    expect(pieceOf({ choices: [{ delta: { reasoning_content: 7, content: 'Yes.' } }] })).toMatchObject({
      ...{ text: 'Yes.', thoughts: '' },
    });
  });

  it('fails with the message of the server', async () => {
    const text = 'data: {"choices":[{"text":"a"}]}\n\ndata: {"error":{"message":"too slow","code":503}}\n\n';
    await expect(collect(text, 9)).rejects.toThrow('too slow');
  });

  it('fails if it ends early', async () => {
    await expect(collect('data: {"choices":[{"text":"a"}]}\n\n', 9)).rejects.toThrow('connection to the server ended');
  });

  it('says that the connection broke', async () => {
    const broken = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull: (controller) => controller.error(new TypeError('network error')),
    });
    await expect(readAnswer(broken).next()).rejects.toThrow('connection to the server ended');
  });

  it('ignores fields of the wrong type', () => {
    const odd = {
      choices: [{ text: 7 }],
      linnet: { position: 'x', trees: [{ tokens: ['a'], parents: [9], accepted: [0, 5] }] },
    };
    expect(pieceOf(odd)).toMatchObject({ text: '', position: undefined });
    expect(pieceOf(odd).trees).toEqual([{ tokens: ['a'], parents: [-1], accepted: [0], next: '' }]);
    expect(pieceOf(null)).toMatchObject({ text: '', trees: [] });
  });
});

describe('facts of an answer', () => {
  const piece = (change: Partial<AnswerPiece>): AnswerPiece => ({
    text: '',
    thoughts: '',
    calls: [],
    trees: [],
    ...change,
  });

  it('counts guesses, keeps the last trees, and takes the rate over the last moments', () => {
    const facts = new FactsOfAnswer(noFacts);
    for (let at = 0; at < 40; at++) {
      facts.take(piece({ position: 10 + at, stateBytes: 64, trees: [{ ...tree, next: String(at) }] }), at * 100);
    }
    expect(facts.facts).toMatchObject({ position: 49, stateBytes: 64, guessed: 80, accepted: 40 });
    expect(facts.facts.tokensPerSecond).toBeCloseTo(10);
    expect(facts.facts.trees.map(({ next }) => next)).toEqual(['39', '38', '37', '36', '35', '34']);
    facts.take(piece({ tokensPerSecond: 12 }), 4000);
    expect(facts.facts.tokensPerSecond).toBe(12);
  });

  it('keeps a history of bounded length that reaches from the first token to the last ones', () => {
    const facts = new FactsOfAnswer(noFacts);
    for (let at = 1; at <= 5000; at++) facts.take(piece({ position: at, stateBytes: 64 }), at);
    const { positions, rates, bytes } = facts.facts.history;
    expect(positions.length).toBeLessThanOrEqual(240);
    expect(positions.length).toBeGreaterThan(100);
    expect([rates.length, bytes.length]).toEqual([positions.length, positions.length]);
    expect(positions[0]).toBe(1);
    expect(positions.at(-1)).toBeGreaterThan(4900);
    expect([...positions].sort((a, b) => a - b)).toEqual([...positions]);
  });
});
