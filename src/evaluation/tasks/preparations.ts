/** Columns computed from a row before its templates are filled in, by name. */
import type { Row, RowValue } from '../../data/files/parquet-rows.ts';
import { isRow } from '../../data/files/rows.ts';
import { internalError } from '../../errors.ts';
import { capitalize, strip } from '../../tokenizer/python-text.ts';
import { detokenizeWikitext } from './text/wikitext.ts';

/** The columns that each preparation adds. */
export const preparations = {
  /** `gold`: index of the right answer among the labels, which are letters or numbers. */
  arc(row) {
    const labels = listOf(ofChoices(row, 'label'));
    return { gold: labels.indexOf(textOf(row.answerKey)) };
  },
  /** `prompt`, and the choices with their own space in front. */
  copa(row) {
    const connector = row.question === 'cause' ? ' because' : ' therefore';
    const lowered = (text: string): string => {
      const [first = ''] = text;
      return ` ${first.toLowerCase()}${text.slice(first.length)}`;
    };
    const choices = [lowered(textOf(row.choice1)), lowered(textOf(row.choice2))];
    const target = choices[Number(row.label)] ?? '';
    return { prompt: [...strip(textOf(row.premise))].slice(0, -1).join('') + connector, choices, target };
  },
  /** `query`, `options`: without WikiHow's marks. */
  hellaswag(row) {
    const query = `${textOf(row.activity_label)}: ${textOf(row.ctx_a)} ${capitalize(textOf(row.ctx_b))}`;
    return { query: withoutMarks(query), options: listOf(row.endings).map(withoutMarks) };
  },
  /** `context` and `last`: all words but the last, and the last with the space before it. */
  lambada(row) {
    const pieces = textOf(row.text).split(' ');
    return { context: pieces.slice(0, -1).join(' '), last: ` ${pieces[pieces.length - 1]}` };
  },
  mmlu: (row) => ({ question: strip(textOf(row.question)) }),
  /** Nothing: questions keep their white space. */
  mmlu_as_it_is: () => ({}),
  /** `statement`: the hypothesis, ending in a full stop. */
  mnli(row) {
    const text = strip(textOf(row.hypothesis));
    return { statement: text.endsWith('.') ? text : `${text}.` };
  },
  wikitext: (row) => ({ text: detokenizeWikitext(textOf(row.page)) }),
} satisfies Readonly<Record<string, (row: Row) => Row>>;

type PreparationName = keyof typeof preparations;

/** Reasons not to ask a row whose columns are valid. */
const problems: Partial<Record<PreparationName, (row: Row) => string | undefined>> = {
  arc(row) {
    const [texts, labels] = [listOf(ofChoices(row, 'text')), listOf(ofChoices(row, 'label'))];
    if (texts.length !== labels.length) return `there are ${texts.length} choices with ${labels.length} labels`;
    if (labels.includes(textOf(row.answerKey))) return undefined;
    return `answerKey is ${JSON.stringify(row.answerKey)}, which is none of the labels ${labels.join(', ')}`;
  },
  copa: ({ question }) =>
    question === 'cause' || question === 'effect'
      ? undefined
      : `question is ${JSON.stringify(question)}; expected "cause" or "effect"`,
  mmlu: fourChoices,
  mmlu_as_it_is: fourChoices,
};

function fourChoices({ choices }: Row): string | undefined {
  const { length } = listOf(choices);
  return length === 4 ? undefined : `there are ${length} choices; expected 4`;
}

/** The reason not to ask a row with checked columns; undefined if there is none. */
export function rowProblem(name: PreparationName | undefined, row: Row): string | undefined {
  return name && problems[name]?.(row);
}

/** The row with a preparation's added columns. */
export function prepare(name: PreparationName | undefined, row: Row): Row {
  return name === undefined ? row : { ...row, ...preparations[name](row) };
}

function withoutMarks(text: string): string {
  return strip(text)
    .replaceAll(' [title]', '. ')
    .replace(/\[[^\n]*?\]/g, '')
    .replaceAll('  ', ' ');
}

/** A column of checked kind. */
function textOf(value: RowValue | undefined): string {
  if (typeof value === 'string') return value;
  throw internalError('a column that holds a text was expected');
}

function listOf(value: RowValue | undefined): string[] {
  if (Array.isArray(value)) return value.map(String);
  throw internalError('a column that holds texts was expected');
}

function ofChoices({ choices }: Row, column: string): RowValue | undefined {
  return isRow(choices) ? choices[column] : undefined;
}
