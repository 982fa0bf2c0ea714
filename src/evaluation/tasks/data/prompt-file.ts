/** Descriptions and examples that come with the data: BIG-Bench Hard's. */
import { join } from 'node:path';
import type { Row } from '../../../data/files/parquet-rows.ts';
import { readRows } from '../../../data/files/rows.ts';
import { readTextFile } from '../../../data/files/text-file.ts';
import { ifFound, LinnetError } from '../../../errors.ts';
import type { Task } from '../schema.ts';
import { taskFolder } from './locate.ts';
import { checkColumns } from './rows.ts';

interface PromptFile {
  readonly description: string;
  readonly samples: readonly Row[];
}

type Reference = NonNullable<Task['prompt_file']>;

/**
 * Reads a task's prompt file; undefined for a task that needs none.
 * @throws LinnetError `NOT_FOUND`, saying where it looked; `FORMAT` if it has no examples
 */
export async function readPromptFile(dir: string, task: Task): Promise<PromptFile | undefined> {
  const { prompt_file: reference } = task;
  if (reference === undefined) return undefined;
  const folder = join(dir, taskFolder(task));
  const places = ['cot-prompts', 'orig/cot-prompts'].map((name) => join(folder, name, `${reference.subset}.txt`));
  for (const path of [...places, join(dir, 'BIG-Bench-Hard/cot-prompts', `${reference.subset}.txt`)]) {
    const text = await ifFound(readTextFile(path));
    if (text === undefined) continue;
    const parsed = parsePrompts(text, path, reference);
    return { ...parsed, samples: (await ifFound(fixedSamples(folder, task, reference))) ?? parsed.samples };
  }
  throw new LinnetError(
    'NOT_FOUND',
    `task ${task.task} needs the description in cot-prompts/${reference.subset}.txt of suzgunmirac/BIG-Bench-Hard; ` +
      `looked for:\n  ${places.join('\n  ')}`,
  );
}

/** Examples in separate rows, which take precedence over the text's examples. */
async function fixedSamples(folder: string, task: Task, { subset, answers }: Reference): Promise<Row[]> {
  const variant = answers === 'chain' ? 'bbh_cot_fewshot' : 'bbh_fewshot';
  const rows: Row[] = [];
  for await (const row of readRows(join(folder, 'fewshot', variant, `${subset}.jsonl`))) {
    checkColumns(row, task.columns);
    rows.push(row.row);
  }
  return rows;
}

/** After a line of dashes: the description, then blocks of question and chain of thought. */
function parsePrompts(text: string, path: string, { answers }: Reference): PromptFile {
  const body = text.split(/^-+\n/m)[1] ?? '';
  const start = body.indexOf('Q: ');
  const blocks =
    start < 0
      ? []
      : body
          .slice(start)
          .trimEnd()
          .split(/\n\n(?=Q: )/);
  const samples = blocks.map((block, index) => {
    const found = /^Q: ([^]*?)\nA: Let's think step by step\.[ \n]([^]*)$/.exec(block);
    if (found === null) throw new LinnetError('FORMAT', `${path}: example ${index} is not "Q: …" and "A: …"`);
    const [, input, chain] = found;
    if (answers === 'chain') return { input, target: chain };
    return { input, target: chain.slice(chain.lastIndexOf('answer is ') + 'answer is '.length).replace(/\.$/, '') };
  });
  if (samples.length === 0) throw new LinnetError('FORMAT', `${path} has no examples; expected "Q: …" after "-----"`);
  return { description: `${body.slice(0, start).trimEnd()}\n\n`, samples };
}
