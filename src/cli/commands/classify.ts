/** `linnet classify`: classifies a text, a pair of texts, or all texts in a file. */
import { labelShape } from '../../data/datasets/labelled.ts';
import { readRecords } from '../../data/files/records.ts';
import { LinnetError, requireRunning } from '../../errors.ts';
import { writeFileAtomic } from '../../files/atomic.ts';
import { open } from '../../open/index.ts';
import type { Classifier } from '../../open/readers.ts';
import type { Classification } from '../../open/text-reader.ts';
import { fixed, formatCount, formatFixed, formatPercent } from '../../report/quantities.ts';
import { defineCommand, engineOptions, optional, optionalList, required } from '../framework/command.ts';
import type { CommandContext } from '../framework/context.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { anyText, called, filePath, path } from '../framework/option-values.ts';
import { memoryOption } from '../options/memory-option.ts';
import { modelFolder } from '../options/model-options.ts';
import { requireOpeningMemory } from '../options/opening-memory.ts';
import { optionsOf } from '../framework/schema-options.ts';

const { textField, pairField } = optionsOf(labelShape);

export const classify = defineCommand({
  description:
    "Prints a text's class and the probabilities of all classes, or the number from a regression head. " +
    'Accepts classifiers from finetune --objective classify and from Hugging Face. --pair adds a second ' +
    'text, for models of sentence pairs. --data classifies all texts in files, one result per row.',
  examples: [
    'linnet classify runs/sentiment --text "A joy from start to end."',
    'linnet classify runs/paraphrase --text "Birds sing." --pair "There is birdsong." --json',
    'linnet classify runs/sentiment --text - < review.txt',
    'linnet classify runs/sentiment --data reviews.csv --text-field review --out classes.jsonl',
  ],
  arguments: { model: required(modelFolder, 'folder of the classifier') },
  options: {
    text: optional(anyText, 'the text; - reads standard input'),
    pair: optional(anyText, 'second text of the pair'),
    data: optionalList(called('files', path), '.jsonl, .csv, .tsv or .parquet files of texts'),
    textField,
    pairField,
    out: optional(filePath, 'with --data: output file, one JSON line per text'),
    memory: memoryOption,
    ...engineOptions,
  },
  writes: ['out'],
  async run(context, { model: folder, text, pair, data, out, memory, device, threads, ...fields }) {
    if ((text === undefined) === (data === undefined)) throw new UsageError('give either --text or --data');
    if (data !== undefined && pair !== undefined)
      throw new UsageError('--pair goes with --text; with --data, give --pair-field');
    const { textField, pairField } = fields;
    if (data === undefined && (textField ?? pairField) !== undefined)
      throw new UsageError('--text-field and --pair-field go with --data; a second text is --pair');
    if (data === undefined && out !== undefined) throw new UsageError('--out needs --data');
    await requireOpeningMemory(folder, { memory });
    await using model = await open(folder, { kind: 'classifier', device, threads });
    if (text !== undefined) {
      const answer = await model.classify(text === '-' ? await readInput(context) : text, pair);
      printClasses(context, answer);
      noteCuts(context, model, [answer]);
      return { json: reported(answer) };
    }
    const answers = await classifyAll(context, model, data ?? [], fields);
    const results = answers.map(reported);
    noteCuts(context, model, answers);
    if (out !== undefined) {
      await writeFileAtomic(out, results.map((result) => `${JSON.stringify(result)}\n`).join(''));
      context.print(`classified ${formatCount(answers.length, 'text')}; results are in ${out}`);
      return { json: { texts: answers.length, out } };
    }
    for (const { label, probability, value } of answers) {
      context.print(value === undefined ? `${label}\t${formatFixed(probability, 4)}` : formatFixed(value, 4));
    }
    return { json: { texts: answers.length, results } };
  },
});

async function classifyAll(
  context: CommandContext,
  model: Classifier,
  files: readonly string[],
  { textField: field, pairField: second }: { readonly textField?: string; readonly pairField?: string },
): Promise<Classification[]> {
  const name = field ?? 'text';
  const records = await readRecords(files, [name, ...(second === undefined ? [] : [second])]);
  return await context.withProgress('classify', 'texts', async ({ signal, onProgress }) => {
    const answers: Classification[] = [];
    for (const { fields, source } of records) {
      requireRunning(signal, `after ${answers.length} of ${records.length} texts`);
      const pair = second === undefined ? undefined : fields.get(second);
      answers.push(await named(source, () => model.classify(fields.get(name) ?? '', pair)));
      onProgress(answers.length, records.length);
    }
    return answers;
  });
}

async function named<T>(source: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof LinnetError) || error.code !== 'INPUT') throw error;
    throw new LinnetError('INPUT', `${source}: ${error.message}`, { cause: error });
  }
}

async function readInput(context: CommandContext): Promise<string> {
  if (context.input.isPiped()) return (await context.input.read()).replace(/\n$/, '');
  const lines: string[] = [];
  for (;;) {
    const line = await context.ask('');
    if (line === undefined) return lines.join('\n');
    lines.push(line);
  }
}

function printClasses(context: CommandContext, { value, classes, label, probability }: Classification): void {
  if (value !== undefined) {
    context.print(formatFixed(value, 4));
    return;
  }
  context.print(`${label} (${formatPercent(probability)})\n`);
  const sorted = classes.toSorted((a, b) => b.probability - a.probability);
  context.table(sorted, [
    { header: 'class', value: 'label' },
    { header: 'probability', value: 'probability', format: fixed(4) },
  ]);
}

/** Says how many texts were not read to their ends. */
function noteCuts(context: CommandContext, { reader }: Classifier, answers: readonly Classification[]): void {
  const cut = answers.filter(({ omitted }) => omitted !== undefined).length;
  if (cut === 0) return;
  const which = answers.length === 1 ? 'the text is' : `${formatCount(cut)} of the texts are`;
  context.note(
    `${which} longer than the ${formatCount(reader.longest)} tokens that the model reads; the rest was left out`,
  );
}

/** For machines: the number of a regression head, or the class with the probabilities of all by name. */
function reported({ label, classes, value, omitted }: Classification): Record<string, unknown> {
  const cut = omitted !== undefined && { omittedTokens: omitted };
  if (value !== undefined) return { value, ...cut };
  return { label, scores: Object.fromEntries(classes.map((entry) => [entry.label, entry.probability])), ...cut };
}
