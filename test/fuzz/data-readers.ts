/** Readers of data and of what people write: texts, tables, tasks, plans. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readRows } from '../../src/data/files/rows.ts';
import { loadDocuments } from '../../src/data/documents/documents.ts';
import { readLabelledTexts } from '../../src/data/datasets/labelled.ts';
import { readTaskFile } from '../../src/evaluation/tasks/task-file.ts';
import { parseJsonObject } from '../../src/files/json-object.ts';
import { describeModel } from '../../src/models/families/index.ts';
import { parsePlan } from '../../src/studies/frame/study.ts';
import { recallMethods } from '../../src/studies/recall/plan.ts';
import { recallStudy } from '../../src/studies/recall/study.ts';
import { sweepVariants } from '../../src/studies/sweep/plan.ts';
import { sweepStudy } from '../../src/studies/sweep/study.ts';
import { thirdParty } from '../fixtures.ts';
import { tinyConfig } from '../models/tiny-model.ts';
import { asFile, type FuzzReader } from './reader.ts';

const text = (value: string): Buffer => Buffer.from(value);
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

const mixer = { kind: 'softmax' };
const local = { preset: 'local', group: 8 };
const training = { epochs: 1, batch: 2, length: 16, learningRate: 0.01 };
const plan = {
  ...{ version: 1, title: 'study', data: ['book.txt'], heldOut: 0.1, tokenizer: 'folder', seeds: [1, 2], training },
  models: { small: { config: tinyConfig('llama') }, tuned: { folder: 'x', training: { steps: 3 } } },
  methods: { local: { ...local, first: { layers: 1, mixer } }, own: { mixer, augmented: false } },
};
const swept = describeModel(tinyConfig('llama'));
const recall = {
  ...{ version: 1, task: 'mqar', title: 'recall', config: tinyConfig('llama'), seeds: [1] },
  methods: { local, own: { mixer } },
  lessons: [{ length: 32, pairs: 4, steps: 2, batch: 2, learningRate: 0.01 }],
  tests: [{ length: 32, pairs: 4, rows: 2 }],
};

const taskYaml = `task: mine
dataset_path: mine
output_type: multiple_choice
test_split: test
columns:
  question: text
  label: label
doc_to_text: "{{question}}\\nAnswer:"
doc_to_choice: ["A", "B"]
doc_to_target: label
metric_list:
  - metric: acc
`;

/** @param folder to write into */
export async function dataReaders(folder: string): Promise<FuzzReader[]> {
  const lines = text(
    '{"text":"a story","label":"x"}\n{"text":"another \\u00e9","label":"y"}\n\n{"text":"","label":"1"}\n',
  );
  const csv = text('text,label\n"one, ""quoted""",a\nplain,b\r\n"two\nlines",c\n');
  const tsv = text('text\tlabel\none "word\ta\ntwo\tb\n');
  const write = (name: string): ((bytes: Buffer) => string) => asFile(folder, name);
  const [jsonl, txt, table, tabs, task, taskJson] = ['a.jsonl', 'a.txt', 'b.csv', 'b.tsv', 't.yaml', 't.json'].map(
    write,
  );
  const fields = { text: 'text', label: 'label' };
  return [
    {
      name: 'documents, .jsonl',
      kind: 'json',
      samples: [lines],
      cost: 6,
      read: async (bytes) => (await loadDocuments([jsonl(bytes)])).length,
    },
    {
      name: 'documents, .txt',
      kind: 'text',
      samples: [text('A story.\r\nMore of it, 日本 \ud83d\ude00.\n'), text('\ufeffx')],
      cost: 5,
      read: async (bytes) => (await loadDocuments([txt(bytes)])).length,
    },
    {
      name: 'labelled texts, .jsonl',
      kind: 'json',
      samples: [lines],
      cost: 6,
      read: (bytes) => readLabelledTexts([jsonl(bytes)], fields),
    },
    {
      name: 'labelled texts, .csv',
      kind: 'text',
      samples: [csv],
      cost: 6,
      read: (bytes) => readLabelledTexts([table(bytes)], fields),
    },
    {
      name: 'labelled texts, .tsv',
      kind: 'text',
      samples: [tsv],
      cost: 6,
      read: (bytes) => readLabelledTexts([tabs(bytes)], fields),
    },
    {
      name: 'rows of tasks, .csv',
      kind: 'text',
      samples: [csv],
      cost: 6,
      read: (bytes) => rowsOf(table(bytes)),
    },
    ...(await parquetReader(folder)),
    {
      name: 'task, .yaml',
      kind: 'text',
      samples: [text(taskYaml)],
      cost: 25,
      read: (bytes) => readTaskFile(task(bytes)),
    },
    {
      name: 'task, .json',
      kind: 'json',
      samples: [
        json({
          ...{ task: 'mine', dataset_path: 'mine', output_type: 'generate_until', test_split: 'test' },
          ...{ doc_to_text: '{{question}}', doc_to_target: '{{answer}}', generation_kwargs: { until: ['\n'] } },
          columns: { question: 'text', answer: 'text' },
          metric_list: [{ metric: 'exact_match', ignore_case: true }],
        }),
      ],
      cost: 10,
      read: (bytes) => readTaskFile(taskJson(bytes)),
    },
    {
      name: 'plan of a sweep',
      kind: 'json',
      samples: [json(plan)],
      cost: 6,
      read: (bytes) =>
        sweepVariants(parsePlan(sweepStudy.definition, parseJsonObject(bytes, 'plan.json'), 'plan.json')).map(
          ({ changed }) => changed(swept).mixers,
        ),
    },
    {
      name: 'plan of a study of recall',
      kind: 'json',
      samples: [json(recall)],
      cost: 6,
      read: (bytes) =>
        recallMethods(parsePlan(recallStudy.definition, parseJsonObject(bytes, 'plan.json'), 'plan.json')),
    },
  ];
}

async function rowsOf(path: string): Promise<number> {
  let rows = 0;
  for await (const { row } of readRows(path)) rows += Object.keys(row).length;
  return rows;
}

/** Published data in Parquet, where the fixtures are at hand. */
async function parquetReader(folder: string): Promise<FuzzReader[]> {
  const place = thirdParty('evaluation/tasks/parquet');
  if (place === undefined || !existsSync(place)) return [];
  const names = ['piqa_validation_uncompressed.parquet', 'mmlu_anatomy_test_zstd.parquet'];
  const write = asFile(folder, 'rows.parquet');
  return [
    {
      name: 'rows of tasks, .parquet',
      kind: 'binary',
      samples: await Promise.all(names.map((name) => readFile(join(place, name)))),
      cost: 60,
      read: (bytes) => rowsOf(write(bytes)),
    },
  ];
}
