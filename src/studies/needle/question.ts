/** A question about a needle: a haystack as long as a length allows, the needles in it, the question and its answers. */
import type { Document } from '../../data/documents/document.ts';
import { documentTokens } from '../../data/documents/document-tokens.ts';
import { LinnetError } from '../../errors.ts';
import { Random } from '../../random.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { needleTasks, type NeedleTaskName } from './task.ts';

/** Longer sentences are lists or verses more often than prose, and make depth coarse. */
const mostCharacters = 400;
/** Enough for the longest requested text; repeated if not. */
const mostSentences = 50_000;

/** Sentences of documents, white space in them made one space. @throws LinnetError `INPUT` without a sentence */
export async function readHaystack(documents: AsyncIterable<Document>): Promise<string[]> {
  const segmenter = new Intl.Segmenter('en', { granularity: 'sentence' });
  const sentences: string[] = [];
  for await (const { text } of documents) {
    // Line ends first: the segmenter ends sentences at them.
    for (const { segment } of segmenter.segment(text.replaceAll(/\s+/g, ' '))) {
      const sentence = segment.trim();
      if (sentence.length > 0 && sentence.length <= mostCharacters) sentences.push(sentence);
      if (sentences.length === mostSentences) return sentences;
    }
  }
  if (sentences.length > 0) return sentences;
  throw new LinnetError('INPUT', 'the haystack text has no sentence; give prose');
}

export type NeedleQuestion = ReturnType<typeof needleQuestion>;

export interface NeedleOptions {
  readonly task: NeedleTaskName;
  /** Tokens of the context and of an answer together. */
  readonly length: number;
  /** Where the first needle goes: 0, before the haystack, to 1, after it. */
  readonly depth: number;
  /** Tokens left for an answer. Default: the task's number. */
  readonly answerTokens?: number;
  /** Seeds the needles, the haystack's beginning and the places of the other needles. */
  readonly seed: number;
}

/**
 * Makes a question. Equal arguments give equal questions; another depth moves the needles in the same haystack, another
 * length makes it longer.
 * @param sentences the haystack's sentences; as many as fit are taken, starting over after the last
 * @throws LinnetError `INPUT` if not even one sentence fits, or for a depth outside 0…1
 */
export function needleQuestion(
  tokenizer: Tokenizer,
  sentences: readonly string[],
  { task, length, depth, answerTokens = needleTasks[task].answerTokens, seed }: NeedleOptions,
) {
  if (!(depth >= 0 && depth <= 1))
    throw new LinnetError('INPUT', `the depth is ${depth}; expected a share from 0 to 1`);
  const random = new Random(seed);
  const plan = needleTasks[task].draw(random);
  const first = random.integer(sentences.length);
  const later = plan.needles.slice(1).map(() => depth + random.uniform() * (1 - depth));
  const depths = [depth, ...later.sort((a, b) => a - b)];
  const hidden: HiddenSentence[] = [
    ...plan.others.map((sentence) => ({ sentence, depth: random.uniform() })),
    ...plan.needles.map((sentence, at) => ({ sentence, depth: depths[at] })),
  ];
  const made = (count: number): { context: string; tokens: number } => {
    const hay = Array.from({ length: count }, (_, i) => sentences[(first + i) % sentences.length]);
    const context = plan.opening + hide(hay, hidden).join(' ') + plan.question;
    return { context, tokens: documentTokens(tokenizer, context).length };
  };
  const room = length - answerTokens;
  const count = mostThatFit(room, (sentenceCount) => made(sentenceCount).tokens);
  if (count === 0) {
    throw new LinnetError(
      'INPUT',
      `${task} needs ${made(1).tokens} tokens with one sentence, plus ${answerTokens} for the answer, but the length is ${length}; ` +
        'give a longer length or fewer answer tokens',
    );
  }
  const { context, tokens } = made(count);
  const { answers, wrong } = plan;
  return {
    /** Text that the model reads; it ends with the beginning of the answer. */
    context,
    /** Tokens of the context, at most the length less the tokens of an answer. */
    tokens,
    answers,
    wrong,
    /** Sentences of the haystack before the first needle, as a share of all of them. */
    depth: Math.round(depth * count) / count,
  };
}

interface HiddenSentence {
  readonly sentence: string;
  /** Share of the haystack before it. */
  readonly depth: number;
}

function hide(hay: readonly string[], hidden: readonly HiddenSentence[]): string[] {
  const at = (place: number): string[] =>
    hidden.flatMap(({ sentence, depth }) => (Math.round(depth * hay.length) === place ? [sentence] : []));
  return [...hay.flatMap((line, place) => [...at(place), line]), ...at(hay.length)];
}

/** The largest count whose tokens fit, 0 if none does: doubled until it does not, then by halves. */
function mostThatFit(room: number, tokensOf: (count: number) => number): number {
  let fits = 0;
  let tooMany = 1;
  while (tokensOf(tooMany) <= room) {
    fits = tooMany;
    tooMany *= 2;
  }
  while (tooMany - fits > 1) {
    const middle = Math.floor((fits + tooMany) / 2);
    if (tokensOf(middle) <= room) fits = middle;
    else tooMany = middle;
  }
  return fits;
}
