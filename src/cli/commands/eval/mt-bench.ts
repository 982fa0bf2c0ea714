/** `linnet eval mt-bench`: how fast questions of several turns are answered, with drafts and without. */
import {
  type AnsweredQuestion,
  type CategorySpeed,
  conversationSpeed,
  readConversationQuestions,
  speedByCategory,
} from '../../../evaluation/speed/conversation-speed.ts';
import { writeFileAtomic } from '../../../files/atomic.ts';
import { fixed, formatCount, formatRatio } from '../../../report/quantities.ts';
import type { Column } from '../../../report/table.ts';
import { readTextFile } from '../../../data/files/text-file.ts';
import { defineCommand, engineOptions, optional, required, withDefault, settings } from '../../framework/command.ts';
import { filePath, integer } from '../../framework/option-values.ts';
import { folderOf } from '../../options/model-options.ts';
import { openDrafting, speculationOptions } from '../../options/speculation-options.ts';
import { openCausal } from '../../../open/running-model.ts';
import { sha256 } from '../../../files/digest.ts';

const { speculate, draft, tree } = speculationOptions;

export const evalMtBench = defineCommand({
  description:
    'Answers questions of several turns greedily, one token a step and with the drafts of --speculate, by the chat ' +
    "template of the model or as a text that goes on. Questions are a file in FastChat's layout, such as MT-Bench's " +
    'question.jsonl. Reported by category: tokens per second, prompts included, and tokens per run of the model (accept ' +
    'length). Both ways must write the same text: the answer is no (exit code 1) if any differs.',
  examples: [
    'linnet eval mt-bench runs/medusa --questions question.jsonl --speculate medusa',
    'linnet eval mt-bench runs/augmented --questions question.jsonl --speculate lookup --answers answers.jsonl --json',
  ],
  arguments: { model: folderOf('the model, exported or not') },
  options: {
    questions: required(filePath, 'questions, a JSON line each'),
    maxTokens: withDefault(integer(1, 1 << 20), 512, 'most tokens of an answer'),
    answers: optional(filePath, "where answers go, in FastChat's layout"),
    ...{ speculate, draft, tree },
    ...engineOptions,
    ...settings({
      limit: optional(integer(1), 'the first so many questions'),
      chatTemplate: optional(filePath, 'chat template instead of that of the model'),
    }),
  },
  writesResults: true,
  async run(context, options) {
    const questions = (await readConversationQuestions(options.questions)).slice(0, options.limit);
    const compile = { device: options.device, threads: options.threads };
    const { chatTemplate: file, maxTokens } = options;
    const chatTemplate = file === undefined ? undefined : await readTextFile(file);
    await using loaded = await openCausal(options.model, { ...compile, chatTemplate });
    await using drafting = await openDrafting({ ...options, acceptance: 'exact' }, loaded, compile);
    const speculation = drafting && (() => drafting.start().method);
    const answered = await context.withProgress('mt-bench', 'questions', (_, hooks) =>
      conversationSpeed(loaded, questions, { maxTokens, speculation, ...hooks }),
    );
    const categories = speedByCategory(answered);
    context.table(categories, columns);
    const different = answered.filter(({ identical }) => identical === false).map(({ question }) => question.id);
    if (different.length > 0) context.print(`\nanswers differ from sequential decoding: ${different.join(', ')}`);
    if (options.answers !== undefined) {
      const lines = answered.map((answer) => `${JSON.stringify(answerLine(answer, options.model))}\n`);
      await writeFileAtomic(options.answers, lines.join(''));
      context.print(`\nwrote ${options.answers}`);
    }
    const identical = drafting === undefined ? undefined : different.length === 0;
    return {
      json: { questions: questions.length, template: loaded.template !== undefined, identical, different, categories },
      negative: different.length > 0,
    };
  },
});

const columns: readonly Column<CategorySpeed>[] = [
  { header: 'category', value: ({ category }) => category },
  { header: 'questions', value: ({ questions }) => questions, format: formatCount },
  { header: 'tokens', value: ({ sequential }) => sequential.tokens, format: formatCount },
  { header: 'tokens/s', value: ({ sequential }) => sequential.tokensPerSecond, format: fixed(1) },
  { header: 'with drafts', value: ({ speculative }) => speculative?.tokensPerSecond, format: fixed(1) },
  { header: 'ratio', value: ({ speedup }) => speedup, format: formatRatio },
  {
    header: 'accept length',
    value: ({ sequential, speculative }) => (speculative ?? sequential).acceptLength,
    format: fixed(2),
  },
];

/** An answer as FastChat keeps it, with tokens, seconds and steps of each turn next to the texts. */
function answerLine({ question, sequential, speculative }: AnsweredQuestion, model: string): Record<string, unknown> {
  const turns = speculative ?? sequential;
  const { id, category } = question;
  const choice = {
    index: 0,
    turns: turns.map(({ text }) => text),
    new_tokens: turns.map(({ tokens }) => tokens.length),
    wall_time: turns.map(({ prefillSeconds, decodeSeconds }) => prefillSeconds + decodeSeconds),
    decoding_steps: turns.map(({ steps }) => steps),
  };
  const ids = { answer_id: sha256(`${model}\0${id}`).slice(0, 22), model_id: model };
  return { question_id: id, category, ...ids, choices: [choice], tstamp: Date.now() / 1000 };
}
