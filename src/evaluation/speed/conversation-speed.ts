/**
 * Speed as the paper measures it (section 5, table 8): questions of several turns, answered greedily, one token a step and
 * with drafts. Both ways write the same text, which is compared; what differs is the time and the runs of the model.
 */
import { generateToEnd } from '../../engine/generate.ts';
import type { Generation } from '../../engine/text-job.ts';
import type { DecodingMethod } from '../../decoding/method.ts';
import { sequential } from '../../decoding/method.ts';
import { Sampler } from '../../decoding/sampler.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { LinnetError } from '../../errors.ts';
import { leadsTo, preparePrompt } from '../../engine/prompt.ts';
import type { ChatMessage, ChatTemplate } from '../../tokenizer/chat-template.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { ConversationQuestion } from './conversation-questions.ts';

/** An answer to a turn. */
export interface AnsweredTurn {
  readonly text: string;
  readonly tokens: readonly number[];
  /** Rounds of decoding, each a run of the model but the first. */
  readonly steps: number;
  /** Reading the new tokens of the prompt. */
  readonly prefillSeconds: number;
  readonly decodeSeconds: number;
}

/** The answers to a question, in one way or in both. */
export interface AnsweredQuestion {
  readonly question: ConversationQuestion;
  readonly sequential: readonly AnsweredTurn[];
  readonly speculative: readonly AnsweredTurn[] | undefined;
  /** Whether both ways gave the same tokens; undefined without speculation. */
  readonly identical: boolean | undefined;
}

export interface ConversationSpeedOptions {
  readonly engine: StepEngine;
  readonly tokenizer: Tokenizer;
  /** Without one, turns simply continue the text. */
  readonly template?: ChatTemplate;
  /** Most tokens of an answer. */
  readonly maxTokens: number;
  /** A method that drafts, made anew for every turn. */
  readonly speculation?: () => DecodingMethod;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Answers all questions, the ways taking turns question by question; the first question is answered once before, unmeasured.
 * @throws LinnetError `ABORTED` when the signal fires; `CONFIG` for a model that reads a text to write another
 */
export async function conversationSpeed(
  questions: readonly ConversationQuestion[],
  options: ConversationSpeedOptions,
): Promise<AnsweredQuestion[]> {
  if (options.engine.model.cross !== undefined) {
    throw new LinnetError('CONFIG', `a ${options.engine.model.family} model has no conversations: it answers one text`);
  }
  const { speculation, onProgress } = options;
  const [first] = questions;
  await answer(first, () => sequential, options);
  if (speculation !== undefined) await answer(first, speculation, options);
  const answered: AnsweredQuestion[] = [];
  for (const question of questions) {
    const plain = await answer(question, () => sequential, options);
    const drafted = speculation === undefined ? undefined : await answer(question, speculation, options);
    const identical = drafted && plain.every(({ tokens }, turn) => String(tokens) === String(drafted[turn].tokens));
    answered.push({ question, sequential: plain, speculative: drafted, identical });
    onProgress?.(answered.length, questions.length);
  }
  return answered;
}

async function answer(
  { turns }: ConversationQuestion,
  method: () => DecodingMethod,
  { engine, tokenizer, template, maxTokens, signal }: ConversationSpeedOptions,
): Promise<AnsweredTurn[]> {
  const messages: ChatMessage[] = [];
  let known: { readonly tokens: readonly number[]; readonly state: SequenceState } = {
    tokens: [],
    state: engine.newState(),
  };
  const answers: AnsweredTurn[] = [];
  const model = { engine, tokenizer, template };
  for (const turn of turns) {
    messages.push({ role: 'user', content: turn });
    // Without a template the text goes on; turns are on lines of their own.
    const line = known.tokens.length > 0 ? `\n${turn}\n` : `${turn}\n`;
    const { tokens: promptTokens } =
      template === undefined
        ? preparePrompt(model, { text: line }, { after: known })
        : preparePrompt(model, { messages });
    const generation = await generateToEnd(engine, {
      promptTokens,
      maxTokens,
      tokenizer,
      method: method(),
      sampler: new Sampler({ temperature: 0 }),
      // A template may rewrite earlier messages; then the whole prompt is read again.
      state: leadsTo(known, promptTokens) ? known.state : engine.newState(),
      signal,
    });
    if (generation.finish === 'abort') throw new LinnetError('ABORTED', 'stopped while answering questions');
    messages.push({ role: 'assistant', content: generation.text });
    known = { tokens: [...promptTokens, ...generation.tokens], state: generation.state };
    answers.push(turnOf(generation));
  }
  return answers;
}

function turnOf({ text, tokens, steps, prefillSeconds, decodeSeconds }: Generation): AnsweredTurn {
  return { text, tokens, steps, prefillSeconds, decodeSeconds };
}

/** One way of answering, summed up. */
export interface WaySpeed {
  readonly tokens: number;
  /** Mean over turns of tokens / seconds from the prompt to the end of the answer, as the paper reports it. */
  readonly tokensPerSecond: number;
  /** All tokens over the seconds of decoding alone. */
  readonly decodeTokensPerSecond: number;
  /** Tokens per round of decoding: 1 without drafts. */
  readonly acceptLength: number;
}

/** The speed of a category, or of all. */
export interface CategorySpeed {
  readonly category: string;
  readonly questions: number;
  readonly turns: number;
  readonly sequential: WaySpeed;
  readonly speculative: WaySpeed | undefined;
  /** Ratio of tokens per second; undefined without speculation. */
  readonly speedup: number | undefined;
}

/** Speeds by category, in the order in which they appear, and of all questions under the name "overall". */
export function speedByCategory(answered: readonly AnsweredQuestion[]): CategorySpeed[] {
  const names = [...new Set(answered.map(({ question }) => question.category))];
  const rows = names.map((name) =>
    speedOf(
      name,
      answered.filter(({ question }) => question.category === name),
    ),
  );
  return [...rows, speedOf('overall', answered)];
}

function speedOf(category: string, answered: readonly AnsweredQuestion[]): CategorySpeed {
  const plain = answered.flatMap((answers) => answers.sequential);
  const drafted = answered.flatMap((answers) => answers.speculative ?? []);
  const own = waySpeed(plain);
  const other = drafted.length === 0 ? undefined : waySpeed(drafted);
  return {
    category,
    questions: answered.length,
    turns: plain.length,
    sequential: own,
    speculative: other,
    speedup: other && other.tokensPerSecond / own.tokensPerSecond,
  };
}

function waySpeed(turns: readonly AnsweredTurn[]): WaySpeed {
  const sum = (of: (turn: AnsweredTurn) => number): number => turns.reduce((total, turn) => total + of(turn), 0);
  const tokens = sum((turn) => turn.tokens.length);
  return {
    tokens,
    tokensPerSecond: sum((turn) => turn.tokens.length / (turn.prefillSeconds + turn.decodeSeconds)) / turns.length,
    decodeTokensPerSecond: tokens / sum((turn) => turn.decodeSeconds),
    acceptLength: tokens / sum((turn) => turn.steps),
  };
}
