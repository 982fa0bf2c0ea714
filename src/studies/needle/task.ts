/**
 * Needles and their questions: five of the tasks of RULER (Hsieh et al., "RULER: What's the Real Context Size of
 * Your Long-Context Language Models?", arXiv 2404.06654), with its wording, so that scores are comparable.
 */
import type { Random } from '../../random.ts';

interface NeedlePlan {
  /**
   * Sentences to hide whose answer is asked for. The first goes to the depth that is measured, the others to random
   * depths after it, in this order.
   */
  readonly needles: readonly string[];
  /** Sentences of the same form whose answer is not asked for; they go to random depths. */
  readonly others: readonly string[];
  readonly answers: readonly string[];
  /** Wrong answers: first the values of the other sentences, then values that no sentence hides. */
  readonly wrong: readonly string[];
  readonly opening: string;
  /** Text after it, the beginning of the answer included, without white space at its end. */
  readonly question: string;
}

/** A task: its hidden sentences, and the most tokens of an answer. */
interface NeedleTask {
  readonly description: string;
  /** As in RULER. */
  readonly answerTokens: number;
  /** Right answers of a question. */
  readonly answers: number;
  draw(random: Random): NeedlePlan;
}

/** Choices that an answer is picked from by log-likelihood. */
export const choiceCount = 8;

/** Names, values of each of them, and the names (default one) whose values are asked for. */
interface MagicCounts {
  readonly names: number;
  readonly values: number;
  readonly asked?: number;
}

function magicTask(description: string, { names, values, asked = 1 }: MagicCounts): NeedleTask {
  return {
    description,
    answerTokens: 128,
    answers: asked * values,
    draw(random) {
      const drawn = drawDistinct(names, new Set(), () => drawName(random));
      const taken = new Set<string>();
      const hiddenOf = (name: string): { name: string; value: string }[] =>
        drawDistinct(values, taken, () => drawNumber(random)).map((value) => ({ name, value }));
      const right = drawn.slice(0, asked).flatMap(hiddenOf);
      const others = drawn.slice(asked).flatMap(hiddenOf);
      const count = choiceCount - right.length - others.length;
      const one = right.length === 1;
      const all = drawn.slice(0, asked);
      const named = all.length === 1 ? all[0] : `${all.slice(0, -1).join(', ')}, and ${all[all.length - 1]}`;
      const sentence = ({ name, value }: (typeof right)[number]): string =>
        `One of the special magic numbers for ${name} is: ${value}.`;
      return {
        needles: right.map(sentence),
        others: others.map(sentence),
        answers: right.map(({ value }) => value),
        wrong: [...others.map(({ value }) => value), ...drawDistinct(count, taken, () => drawNumber(random))],
        opening:
          `${one ? 'A special magic number is' : 'Some special magic numbers are'} hidden within the following text. ` +
          `Make sure to memorize it. I will quiz you about the ${one ? 'number' : 'numbers'} afterwards.\n`,
        question:
          `\nWhat ${one ? 'is the special magic number' : 'are all the special magic numbers'} for ${named} mentioned in ` +
          `the provided text? The special magic ${one ? 'number' : 'numbers'} for ${named} mentioned in the provided text ` +
          (one ? 'is' : 'are'),
      };
    },
  };
}

/** Variables of a chain: the first is given a number, each other the one before it. */
const chainLength = 5;

const variableTracking: NeedleTask = {
  description: 'a chain of five variables, each assigned the previous one; asks for all that have the value',
  answerTokens: 30,
  answers: chainLength,
  draw(random) {
    const taken = new Set<string>();
    const example = chain(random, taken);
    const asked = chain(random, taken);
    const question = (value: string): string =>
      `\nQuestion: Find all variables that are assigned the value ${value} in the text above. Answer: According to the ` +
      `chain(s) of variable assignment in the text above, ${chainLength} variables are assigned the value ${value}, they are:`;
    const opening = 'Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n';
    return {
      needles: asked.sentences,
      others: [],
      answers: asked.variables,
      wrong: drawDistinct(choiceCount - chainLength, taken, () => drawVariable(random)),
      opening:
        `${opening}${example.sentences.join(' ')}${question(example.value)} ${example.variables.join(' ')}\n\n` +
        opening,
      question: question(asked.value),
    };
  },
};

function chain(random: Random, taken: Set<string>): { variables: string[]; value: string; sentences: string[] } {
  const variables = drawDistinct(chainLength, taken, () => drawVariable(random));
  const [value] = drawDistinct(1, taken, () => drawNumber(random, 5));
  const sentences = variables.map((name, at) => `VAR ${name} = ${at === 0 ? value : `VAR ${variables[at - 1]}`}.`);
  return { variables, value, sentences };
}

export const needleTaskNames = ['single', 'multi-key', 'multi-value', 'multi-query', 'variable-tracking'] as const;
export type NeedleTaskName = (typeof needleTaskNames)[number];

export const needleTasks: Readonly<Record<NeedleTaskName, NeedleTask>> = {
  single: magicTask('one number of one name', { names: 1, values: 1 }),
  'multi-key': magicTask('numbers of four names; asks for one', { names: 4, values: 1 }),
  'multi-value': magicTask('four numbers of one name; asks for all', { names: 1, values: 4 }),
  'multi-query': magicTask('numbers of four names; asks for all', { names: 4, values: 1, asked: 4 }),
  'variable-tracking': variableTracking,
};

/** Words of names that a haystack does not hold, as in "quiet-anchor": 4,096 pairs. */
const adjectives =
  'amber bitter bold brave brisk calm candid clever cold copper crimson curly dapper dim dusty eager early faint fierce fleet fond frosty gentle ' +
  'giddy glad golden grand hasty hollow humble icy ivory jolly keen late lively loud lucky mellow merry misty modest narrow neat noble odd pale ' +
  'patient plain proud quick quiet rapid rosy royal rugged salty shy silent silver sleepy slender smooth solid';

const nouns =
  'acorn anchor apron arrow badger barrel basket beacon bell bottle bridge bucket button candle carpet castle cellar chimney ' +
  'clover comet copse cradle desk dolphin donkey drum engine falcon feather fiddle fountain garden gate glacier hammer harbor ' +
  'helmet island jacket kettle ladder lantern lemon magnet mirror mitten needle orchard oven paddle parrot pebble pillow ' +
  'plough pocket quilt rabbit ribbon river saddle teapot tunnel violin walnut';

const pairs: readonly (readonly string[])[] = [adjectives.split(' '), nouns.split(' ')];

function drawName(random: Random): string {
  return pairs.map((words) => words[random.integer(words.length)]).join('-');
}

function drawNumber(random: Random, digits = 7): string {
  const least = 10 ** (digits - 1);
  return String(least + random.integer(9 * least));
}

function drawVariable(random: Random): string {
  return Array.from({ length: 5 }, () => String.fromCharCode(65 + random.integer(26))).join('');
}

/** A sample of `draw` without replacement: none equal to another or to a taken one; it is added to the taken. */
function drawDistinct(count: number, taken: Set<string>, draw: () => string): string[] {
  const drawn: string[] = [];
  while (drawn.length < count) {
    const next = draw();
    if (taken.has(next)) continue;
    taken.add(next);
    drawn.push(next);
  }
  return drawn;
}
