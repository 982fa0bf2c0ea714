/**
 * Speed as the paper measures it (section 5, table 8): questions of several turns, answered greedily, one token a step and
 * with drafts. Both ways write the same text, which is compared; what differs is the time and the runs of the model.
 */
import { z } from 'zod';
import { readLines } from '../../data/files/text-file.ts';
import { type DecodingMethod, sequential } from '../../decoding/method.ts';
import { Sampler } from '../../decoding/sampler.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import { generateToEnd } from '../../engine/generate.ts';
import { leadsTo, preparePrompt } from '../../engine/prompt.ts';
import type { Generation } from '../../engine/text-job.ts';
import type { TextModel } from '../../engine/text-model.ts';
import { LinnetError, type Watched } from '../../errors.ts';
import { parseJson } from '../../files/json-object.ts';
import { validated } from '../../files/schema-problems.ts';
import type { ChatMessage } from '../../tokenizer/chat-template.ts';

/** Longest line, in bytes: turns and reference answers of a question. */
const maximumLineBytes = 1 << 20;

const questionSchema = z
  .looseObject({
    question_id: z.union([z.int(), z.string().min(1).max(100)]),
    category: z.string().min(1).max(100).default('all'),
    turns: z.array(z.string().min(1)).min(1).max(64),
  })
  .transform(({ question_id: id, category, turns }) => ({ id, category, turns }));

export type ConversationQuestion = z.output<typeof questionSchema>;

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
    const { id } = question;
    if (questions.has(id)) throw new LinnetError('FORMAT', `${source}: question ${id} is there twice`);
    questions.set(id, question);
  }
  if (questions.size === 0) throw new LinnetError('INPUT', `${file} has no questions`);
  return [...questions.values()];
}

export type AnsweredTurn = Pick<Generation, 'text' | 'tokens' | 'steps' | 'prefillSeconds' | 'decodeSeconds'>;

/** The answers to a question, in one way or in both. */
export interface AnsweredQuestion {
  readonly question: ConversationQuestion;
  readonly sequential: readonly AnsweredTurn[];
  readonly speculative: readonly AnsweredTurn[] | undefined;
  /** Whether both ways gave the same tokens; undefined without speculation. */
  readonly identical: boolean | undefined;
}

export interface ConversationSpeedOptions extends Watched {
  /** Most tokens of an answer. */
  readonly maxTokens: number;
  /** A method that drafts, made anew for every turn. */
  readonly speculation?: () => DecodingMethod;
}

type TalkingModel = Pick<TextModel, 'engine' | 'tokenizer' | 'template'>;

/**
 * Answers all questions, the ways taking turns question by question; the first question is answered once before, unmeasured.
 * @param model without a template, turns simply continue the text
 * @throws LinnetError `ABORTED` when the signal fires; `CONFIG` for a model that reads a text to write another
 */
export async function conversationSpeed(
  model: TalkingModel,
  questions: readonly ConversationQuestion[],
  options: ConversationSpeedOptions,
): Promise<AnsweredQuestion[]> {
  const { cross, family } = model.engine.model;
  if (cross !== undefined) {
    throw new LinnetError('CONFIG', `a ${family} model has no conversations: it answers one text`);
  }
  const { speculation, onProgress } = options;
  const both = async (question: ConversationQuestion): Promise<AnsweredQuestion> => {
    const plain = await answer(model, question, () => sequential, options);
    const drafted = speculation && (await answer(model, question, speculation, options));
    const identical = drafted && plain.every(({ tokens }, turn) => String(tokens) === String(drafted[turn].tokens));
    return { question, sequential: plain, speculative: drafted, identical };
  };
  await both(questions[0]);
  const answered: AnsweredQuestion[] = [];
  for (const question of questions) {
    answered.push(await both(question));
    onProgress?.(answered.length, questions.length);
  }
  return answered;
}

async function answer(
  model: TalkingModel,
  { turns }: ConversationQuestion,
  method: () => DecodingMethod,
  { maxTokens, signal }: ConversationSpeedOptions,
): Promise<AnsweredTurn[]> {
  const { engine, tokenizer, template } = model;
  const messages: ChatMessage[] = [];
  let known: { tokens: number[]; state: SequenceState } = { tokens: [], state: engine.newState() };
  const answers: AnsweredTurn[] = [];
  for (const turn of turns) {
    messages.push({ role: 'user', content: turn });
    // Without a template the text goes on; turns are on lines of their own.
    const line = known.tokens.length > 0 ? `\n${turn}\n` : `${turn}\n`;
    const { tokens: promptTokens } =
      template === undefined
        ? preparePrompt(model, { text: line }, { after: known })
        : preparePrompt(model, { messages });
    const { state, ...generation } = await generateToEnd(engine, {
      ...{ promptTokens, maxTokens, tokenizer, signal },
      method: method(),
      sampler: new Sampler({ temperature: 0 }),
      // A template may rewrite earlier messages; then the whole prompt is read again.
      state: leadsTo(known, promptTokens) ? known.state : engine.newState(),
    });
    if (generation.finish === 'abort') throw new LinnetError('ABORTED', 'stopped while answering questions');
    messages.push({ role: 'assistant', content: generation.text });
    known = { tokens: [...promptTokens, ...generation.tokens], state };
    answers.push(generation);
  }
  return answers;
}

/** The speed of a category, or of all. */
export type CategorySpeed = ReturnType<typeof speedByCategory>[number];

/** Speeds by category, in the order in which they appear, and of all questions under the name "overall". */
export function speedByCategory(answered: readonly AnsweredQuestion[]) {
  const categories = [...new Set(answered.map(({ question }) => question.category))];
  return [...categories, 'overall'].map((category, index) => {
    const own = answered.filter(({ question }) => index === categories.length || question.category === category);
    const plain = own.flatMap((answers) => answers.sequential);
    const drafted = own.flatMap((answers) => answers.speculative ?? []);
    const sequentially = waySpeed(plain);
    const speculatively = drafted.length === 0 ? undefined : waySpeed(drafted);
    return {
      ...{ category, questions: own.length, turns: plain.length },
      sequential: sequentially,
      speculative: speculatively,
      // Without speculation undefined.
      speedup: speculatively && speculatively.tokensPerSecond / sequentially.tokensPerSecond,
    };
  });
}

function waySpeed(turns: readonly AnsweredTurn[]) {
  const sum = (of: (turn: AnsweredTurn) => number): number => turns.reduce((total, turn) => total + of(turn), 0);
  const tokens = sum((turn) => turn.tokens.length);
  return {
    tokens,
    // Mean over turns of tokens / seconds from the prompt to the end of the answer, as the paper reports it.
    tokensPerSecond: sum((turn) => turn.tokens.length / (turn.prefillSeconds + turn.decodeSeconds)) / turns.length,
    // All tokens over the seconds of decoding alone.
    decodeTokensPerSecond: tokens / sum((turn) => turn.decodeSeconds),
    // Tokens per round of decoding: 1 without drafts.
    acceptLength: tokens / sum((turn) => turn.steps),
  };
}
