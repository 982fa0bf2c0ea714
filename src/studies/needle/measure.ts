/** Share of the needles hidden in a long text that a model finds, by the text's length and the needle's depth. */
import { z } from 'zod';
import type { Scorer, ScorerOptions } from '../../engine/scoring/scorer.ts';
import { average, meanError } from '../../report/statistics.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { requireRunning } from '../../errors.ts';
import { type NeedleOptions, needleQuestion, type NeedleQuestion } from './question.ts';
import { choiceCount, needleTasks, type NeedleTaskName } from './task.ts';

/**
 * `generate`: the model answers, and counts the share of right answers whose text is in its answer, whatever the case
 * (RULER's string match of all). `choose`: of eight candidates, right ones among them, as many as there are right ones
 * are taken by log-likelihood, and the share of right ones counts: for models that cannot answer.
 */
export const needleAnswerKinds = ['generate', 'choose'] as const;
type NeedleAnswerKind = (typeof needleAnswerKinds)[number];

/** Questions of one length and depth. */
export interface NeedleSettings extends NeedleOptions {
  readonly answer: NeedleAnswerKind;
  readonly questions: number;
}

/** Score at one length and depth. */
export const needleCell = z.strictObject({
  score: z.number(),
  /** Standard error of it; 0 for one question. */
  error: z.number(),
  questions: z.int(),
  /** Mean tokens that were read before the answer. */
  tokens: z.number(),
});

/** The chance score of choosing an answer. */
export function needleChance(task: NeedleTaskName): number {
  return needleTasks[task].answers / choiceCount;
}

/**
 * Asks a model at one length and depth. The scorer must read as many tokens at once as the length.
 * @throws LinnetError `INPUT` for a length that the task does not fit, `ABORTED` when the signal fires
 */
export async function measureNeedles(
  scorer: Scorer,
  tokenizer: Tokenizer,
  sentences: readonly string[],
  { task, answer, length, depth, questions, answerTokens = needleTasks[task].answerTokens, seed }: NeedleSettings,
  options: ScorerOptions = {},
): Promise<z.output<typeof needleCell>> {
  requireRunning(options.signal, `at ${length} tokens`);
  // The same questions at every depth: only the place of the needle differs.
  const asked = Array.from({ length: questions }, (_, i) =>
    needleQuestion(tokenizer, sentences, { task, length, depth, answerTokens, seed: seed + i }),
  );
  const scores = await answering[answer](scorer, asked, answerTokens, options);
  const error = questions === 1 ? 0 : meanError(scores);
  return { score: average(scores), error, questions, tokens: average(asked.map(({ tokens }) => tokens)) };
}

type Answering = (
  scorer: Scorer,
  questions: readonly NeedleQuestion[],
  answerTokens: number,
  options: ScorerOptions,
) => Promise<number[]>;

const answering: Readonly<Record<NeedleAnswerKind, Answering>> = {
  async generate(scorer, questions, maxTokens, options) {
    const requests = questions.map(({ context }) => ({ context, until: [], maxTokens }));
    const texts = await scorer.generate(requests, options);
    return questions.map(({ answers }, at) => shareContained(answers, texts[at]));
  },
  async choose(scorer, questions, _, options) {
    const scores: number[] = [];
    for (const { context, answers, wrong } of questions) {
      const candidates = [...answers, ...wrong];
      const requests = candidates.map((candidate) => ({ context, continuation: ` ${candidate}` }));
      const found = await scorer.score(requests, options);
      const ranked = candidates
        .map((_candidate, at) => ({ right: at < answers.length, likelihood: found[at].logLikelihood }))
        // On ties the wrong one comes first, so that an uninformative model finds nothing.
        .sort((a, b) => b.likelihood - a.likelihood || Number(a.right) - Number(b.right));
      scores.push(ranked.slice(0, answers.length).filter(({ right }) => right).length / answers.length);
    }
    return scores;
  },
};

/** Share of references found in a text, ignoring case. */
export function shareContained(references: readonly string[], text: string): number {
  const lower = text.toLowerCase();
  return references.filter((reference) => lower.includes(reference.toLowerCase())).length / references.length;
}
