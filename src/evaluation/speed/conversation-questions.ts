/** Questions of conversations in FastChat's layout, as MT-Bench has them: a JSON line each, with several turns. */
import { z } from 'zod';
import { readLines } from '../../data/files/text-file.ts';
import { LinnetError } from '../../errors.ts';
import { parseJson } from '../../files/json-object.ts';
import { validated } from '../../files/schema-problems.ts';

/** Longest line, in bytes: turns and reference answers of a question. */
const maximumLineBytes = 1 << 20;

const questionSchema = z.looseObject({
  question_id: z.union([z.int(), z.string().min(1).max(100)]),
  category: z.string().min(1).max(100).default('all'),
  turns: z.array(z.string().min(1)).min(1).max(64),
});

/** Questions of a conversation, turn by turn. */
export interface ConversationQuestion {
  readonly id: number | string;
  readonly category: string;
  readonly turns: readonly string[];
}

/**
 * The questions of a file, such as MT-Bench's question.jsonl.
 * @throws LinnetError `FORMAT` naming file and line; `INPUT` for a file without questions
 */
export async function readConversationQuestions(file: string): Promise<ConversationQuestion[]> {
  const questions = new Map<number | string, ConversationQuestion>();
  for await (const { text, number } of readLines(file, maximumLineBytes)) {
    if (text.trim() === '') continue;
    const source = `${file}:${number}`;
    const refusal = `${source} is not a question with "question_id", "category" and "turns"`;
    const question = validated(questionSchema, parseJson(text, source), 'FORMAT', refusal);
    const { question_id: id, category, turns } = question;
    if (questions.has(id)) throw new LinnetError('FORMAT', `${source}: question ${id} is there twice`);
    questions.set(id, { id, category, turns });
  }
  if (questions.size === 0) throw new LinnetError('INPUT', `${file} has no questions`);
  return [...questions.values()];
}
