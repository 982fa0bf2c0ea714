/** Questions of several turns, in FastChat's layout: answered by both ways, by template or plainly, and broken files. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { suiteFolder } from '../scratch-folder.ts';
import { errorOf, linnet, runCaptured, runJson } from './captured-cli.ts';

const folder = suiteFolder();
const at = (name: string): string => join(folder, name);
const model = 'assets/tiny-llama';

const questions = [
  { question_id: 81, category: 'writing', turns: ['Call me', 'Once more'] },
  { question_id: 82, category: 'writing', turns: ['The whale', 'And the sea'] },
  { question_id: 'm1', category: 'maths', turns: ['One and one'], reference: ['two'] },
];

beforeAll(async () => {
  await writeFile(at('question.jsonl'), questions.map((question) => `${JSON.stringify(question)}\n`).join(''));
  await writeFile(
    at('chat.jinja'),
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}bot:",
  );
});

const way = z.object({ tokens: z.int(), tokensPerSecond: z.number().positive(), acceptLength: z.number() });
const schema = z.object({
  identical: z.boolean().optional(),
  template: z.boolean(),
  categories: z.array(
    z.object({
      category: z.string(),
      questions: z.int(),
      turns: z.int(),
      sequential: way,
      speculative: way.optional(),
    }),
  ),
});
const command = ['eval', 'mt-bench', model, '--questions', at('question.jsonl'), '--max-tokens', '24'];

describe('eval mt-bench', () => {
  it('answers both turns in both ways with the same text, by category', async () => {
    const answers = at('answers.jsonl');
    const run = schema.parse(await runJson(...command, '--speculate', 'lookup', '--answers', answers));
    expect(run.identical).toBe(true);
    expect(run.categories.map(({ category, questions: count, turns }) => [category, count, turns])).toEqual([
      ['writing', 2, 4],
      ['maths', 1, 1],
      ['overall', 3, 5],
    ]);
    const [, , overall] = run.categories;
    expect(overall.sequential.acceptLength).toBe(1);
    expect(overall.speculative?.acceptLength).toBeGreaterThanOrEqual(1);
    expect(overall.speculative?.tokens).toBe(overall.sequential.tokens);
    const lines = (await readFile(answers, 'utf8')).trim().split('\n');
    const choices = z.array(
      z.object({ index: z.literal(0), turns: z.array(z.string()), new_tokens: z.array(z.int()) }),
    );
    const written = lines.map((line) => z.object({ question_id: z.json(), choices }).parse(JSON.parse(line)));
    expect(written.map((line) => line.question_id)).toEqual([81, 82, 'm1']);
    expect(written.map((line) => line.choices[0].turns.length)).toEqual([2, 2, 1]);
    // The first turn is what generate writes.
    const plain = await runJson('generate', model, '--prompt', 'Call me\n', '--max-tokens', '24');
    expect(written[0].choices[0].turns[0]).toBe(plain.text);
  });

  it('asks by a chat template, without speculation too', async () => {
    const run = schema.parse(
      await runJson(...command, '--set', `chatTemplate=${at('chat.jinja')}`, '--set', 'limit=1'),
    );
    expect(run).toMatchObject({ template: true });
    expect(run.identical).toBeUndefined();
    expect(run.categories.map(({ questions: count }) => count)).toEqual([1, 1]);
    expect(run.categories[0].speculative).toBeUndefined();
    const { stdout } = await linnet(...command, '--set', 'limit=1');
    expect(stdout).toMatch(/category +questions +tokens +tokens\/s/);
  });

  it.each([
    ['no turns', '{"question_id":1,"category":"a"}', 'FORMAT', /:1 is not a question/],
    ['an empty turn', '{"question_id":1,"category":"a","turns":[""]}', 'FORMAT', /:1 is not a question/],
    ['no JSON', '{"question_id":1', 'FORMAT', /:1 is not valid JSON/],
    [
      'a question twice',
      '{"question_id":1,"turns":["a"]}\n{"question_id":1,"turns":["b"]}',
      'FORMAT',
      /:2: question 1/,
    ],
    ['nothing', '\n', 'INPUT', /has no questions/],
    ['10 MB of one line', `{"question_id":1,"turns":["${'a'.repeat(10 << 20)}"]}`, 'FORMAT', /:1: the line is longer/],
  ])('refuses %s', async (_, content, code, message) => {
    await writeFile(at('bad.jsonl'), content);
    const error = errorOf(await runCaptured(['eval', 'mt-bench', model, '--questions', at('bad.jsonl'), '--json']));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });
});
