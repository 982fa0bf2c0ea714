/** How much of what is hidden in a long text a model finds, by the text's length and the needle's depth. */
import { LinnetError } from '../../errors.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { Scorer, ScorerOptions } from '../../engine/scoring/scorer.ts';
import { needleQuestion, type NeedleQuestion } from './question.ts';
import { choiceCount, needleTasks, type NeedleTaskName } from './task.ts';

/**
 * `generate`: the model answers, and counts the share of right answers whose text is in what it wrote, whatever the case
 * (RULER's string match of all). `choose`: of eight candidates, right ones among them, as many as there are right ones
 * are taken by log-likelihood, and the share of right ones counts: for models that cannot answer.
 */
export const needleAnswerKinds = ['generate', 'choose'] as const;
type NeedleAnswerKind = (typeof needleAnswerKinds)[number];

export interface NeedleSettings {
  readonly task: NeedleTaskName;
  readonly answer: NeedleAnswerKind;
  readonly lengths: readonly number[];
  readonly depths: readonly number[];
  /** Questions per length and depth. */
  readonly questions: number;
  readonly answerTokens?: number;
  readonly seed: number;
}

/** What was found at one length and depth. */
export interface NeedleCell {
  readonly length: number;
  readonly depth: number;
  /** Mean over questions of the share of right answers. */
  readonly score: number;
  /** Standard error of it; 0 for one question. */
  readonly error: number;
  readonly questions: number;
  /** Mean tokens that were read before the answer. */
  readonly tokens: number;
}

/** What chance reaches where an answer is chosen. */
export function needleChance(task: NeedleTaskName): number {
  return needleTasks[task].answers / choiceCount;
}

/**
 * Asks a model at every length and depth. The scorer must read as many tokens at once as the longest length.
 * @throws LinnetError `INPUT` for lengths that a task does not fit, `ABORTED` when the signal fires
 */
export async function measureNeedles(
  scorer: Scorer,
  tokenizer: Pick<Tokenizer, 'encode'>,
  sentences: readonly string[],
  settings: NeedleSettings,
  { signal, onProgress }: ScorerOptions = {},
): Promise<NeedleCell[]> {
  const { task, lengths, depths, questions, answerTokens = needleTasks[task].answerTokens, seed } = settings;
  const cells: NeedleCell[] = [];
  for (const length of lengths) {
    for (const depth of depths) {
      if (signal?.aborted === true) {
        throw new LinnetError('ABORTED', `stopped after ${cells.length} of ${lengths.length * depths.length} cells`);
      }
      // The same questions at every depth: what differs then is where the needle is.
      const asked = Array.from({ length: questions }, (_, i) =>
        needleQuestion(tokenizer, sentences, { ...{ task, length, depth, answerTokens }, seed: seed + i }),
      );
      const scores = await answering[settings.answer](scorer, asked, answerTokens, { signal });
      const score = mean(scores);
      const variance = scores.reduce((sum, value) => sum + (value - score) ** 2, 0) / Math.max(1, questions - 1);
      cells.push({
        ...{ length, depth, score, questions },
        error: Math.sqrt(variance / questions),
        tokens: mean(asked.map(({ tokens }) => tokens)),
      });
      onProgress?.(cells.length, lengths.length * depths.length);
    }
  }
  return cells;
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
      const found = await scorer.score(
        candidates.map((candidate) => ({ context, continuation: ` ${candidate}` })),
        options,
      );
      const ranked = candidates
        .map((_candidate, at) => ({ right: at < answers.length, likelihood: found[at].logLikelihood }))
        // Equals: the wrong one first, so that a model that says nothing finds nothing.
        .sort((a, b) => b.likelihood - a.likelihood || Number(a.right) - Number(b.right));
      scores.push(ranked.slice(0, answers.length).filter(({ right }) => right).length / answers.length);
    }
    return scores;
  },
};

/** Share of references that are in a text, whatever the case. */
export function shareContained(references: readonly string[], text: string): number {
  const lower = text.toLowerCase();
  return references.filter((reference) => lower.includes(reference.toLowerCase())).length / references.length;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
