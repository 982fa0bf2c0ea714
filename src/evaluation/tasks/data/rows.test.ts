/** Files of rows that are cut, damaged or none: a typed error with the file, and no other. */
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readRows } from '../../../data/files/rows.ts';
import type { SourcedRow } from '../../../data/files/parquet-rows.ts';
import { thirdParty } from '../../../../test/fixtures.ts';
import { suiteFolder } from '../../../../test/scratch-folder.ts';
import { readRecords } from '../../../data/files/records.ts';
import { LinnetError } from '../../../errors.ts';
import { Random } from '../../../random.ts';
import { checkColumns, checkRow } from './rows.ts';

const folder = suiteFolder();

async function all(path: string): Promise<SourcedRow[]> {
  const rows: SourcedRow[] = [];
  for await (const row of readRows(path)) rows.push(row);
  return rows;
}

/** What reading bytes comes to: rows, or the message of a typed error. */
async function outcome(name: string, content: string | Uint8Array): Promise<SourcedRow[] | string> {
  const path = join(folder, name);
  await writeFile(path, content);
  try {
    return await all(path);
  } catch (error) {
    if (!(error instanceof LinnetError)) throw error;
    expect(['FORMAT', 'INPUT']).toContain(error.code);
    expect(error.message).toContain(name);
    return error.message;
  }
}

describe('rows of text files', () => {
  const cases: [name: string, content: string | Uint8Array, message: RegExp][] = [
    ['list.jsonl', '[1]\n', /list\.jsonl:1 is not a JSON object/],
    ['number.jsonl', '{"a":1}\n7\n', /number\.jsonl:2 is not a JSON object/],
    ['binary.jsonl', Uint8Array.of(0x7b, 0xff, 0xfe, 0x0a), /binary\.jsonl:1 is not UTF-8/],
    ['empty.csv', '', /empty\.csv is empty/],
    ['twice.csv', 'a,b,a\n1,2,3\n', /two columns "a"/],
    ['short.csv', 'a,b\n1,2\n3\n', /short\.csv:3 has 1 values; the first line has 2/],
    ['open.csv', 'a,b\n1,"2\n', /open\.csv:2/],
    ['quote.csv', 'a,b\n1,2"3\n', /quote\.csv:2/],
    ['wide.tsv', 'a\tb\n1\t2\t3\n', /wide\.tsv:2 has 3 values/],
    ['long.csv', `a,b\n1,2\n${'x'.repeat(5 << 20)},3\n`, /long\.csv:3: the row is longer than 4194304 characters/],
    ['page.html', '<html>', /rows are read from/],
  ];
  it.each(cases)('%s', async (name, content, message) => {
    expect(await outcome(name, content)).toMatch(message);
  });

  it('checks columns, naming the row and what it holds', () => {
    const source = 'x.jsonl:3';
    const check = (row: SourcedRow['row']) => () =>
      checkColumns({ row, source }, { q: 'text', gold: 'label', o: 'texts' });
    const good = { q: 'a', gold: 1, o: ['x', 'y'] };
    expect(check(good)).not.toThrow();
    expect(check({ ...good, q: null })).toThrow(/x\.jsonl:3 has no column "q"; its columns are: q, gold, o/);
    expect(check({ ...good, gold: 1.5 })).toThrow(/x\.jsonl:3: column "gold" is 1\.5/);
    expect(check({ ...good, gold: -1 })).toThrow(/test splits without labels/);
    expect(check({ ...good, o: [] })).toThrow(/column "o" is \[\]; expected a list of texts/);
    expect(check({ ...good, o: ['x', 2] })).toThrow(/column "o"/);
  });

  it('checks that a row can be asked', () => {
    const columns = { question: 'text', choices: 'texts', answer: 'label' } as const;
    const check =
      (row: SourcedRow['row'], task: Parameters<typeof checkRow>[1] = { columns }) =>
      () =>
        checkRow({ row, source: 'x.jsonl:3' }, task);
    expect(check({ question: ' ', choices: ['a', ''], answer: 0 })).not.toThrow();
    expect(check({ question: ' ', choices: ['', '\n'], answer: 0 })).toThrow(/x\.jsonl:3 is an empty row/);
    const mmlu = { columns, process_docs: 'mmlu' } as const;
    expect(check({ question: 'q', choices: ['a', 'b', 'c'], answer: 0 }, mmlu)).toThrow(
      /x\.jsonl:3: there are 3 choices/,
    );
    const arc = { columns: {}, process_docs: 'arc' } as const;
    const choices = { text: ['a', 'b'], label: ['A', 'B'] };
    expect(check({ choices, answerKey: 'B' }, arc)).not.toThrow();
    expect(check({ choices, answerKey: 'E' }, arc)).toThrow(/answerKey is "E", which is none of the labels A, B/);
    expect(check({ choices: { ...choices, label: ['A'] }, answerKey: 'A' }, arc)).toThrow(/2 choices with 1 labels/);
    expect(check({ question: 'why' }, { columns: {}, process_docs: 'copa' })).toThrow(/expected "cause" or "effect"/);
  });

  it('records of labelled texts name file and line', async () => {
    const file = (name: string): string => join(folder, name);
    await writeFile(file('labels.jsonl'), '{"text":"a","label":0}\n{"text":null,"label":1}\n');
    await expect(readRecords([file('labels.jsonl')], ['text', 'label'])).rejects.toThrow(
      /:2 has no text or number in the field "text"; its fields are: label/,
    );
    await expect(readRecords([file('labels.jsonl')], ['words'])).rejects.toThrow(/:1 has no field "words"/);
    await expect(readRecords([file('labels.jsonl')], ['2', '0'])).rejects.toThrow(/column numbers from 1 on/);
    await writeFile(file('half.parquet'), 'PAR1 and no more');
    await expect(readRecords([file('half.parquet')], ['text'])).rejects.toThrow(/half\.parquet is not a whole Parquet/);
    await writeFile(file('long.jsonl'), `{"text":"${'x'.repeat(17 << 20)}"}`);
    await expect(readRecords([file('long.jsonl')], ['text'])).rejects.toThrow(/:1: the line is longer/);
  });
});

const parquet = thirdParty('evaluation/tasks/parquet');
const names = [
  'piqa_validation_snappy',
  'piqa_validation_uncompressed',
  'arc_challenge_test_snappy',
  'mmlu_anatomy_test_zstd',
];

describe.skipIf(parquet === undefined)('damaged Parquet files (third-party fixture)', () => {
  it.each(names)('%s: cut anywhere, or with bytes changed', async (name) => {
    const bytes = readFileSync(join(parquet ?? '', `${name}.parquet`));
    const whole = await outcome('whole.parquet', bytes);
    expect(whole.length).toBeGreaterThan(10);
    const random = new Random(5);
    for (const length of [0, 3, 8, 100, bytes.length >> 1, bytes.length - 9, bytes.length - 1]) {
      expect(await outcome('cut.parquet', bytes.subarray(0, length))).toMatch(/is not a whole Parquet file/);
    }
    // The end of the file says where everything is.
    for (let round = 0; round < 40; round++) {
      const damaged = Uint8Array.from(bytes);
      for (let i = 0; i < 4; i++) {
        const within = round % 2 === 0 ? Math.min(2000, bytes.length) : bytes.length;
        damaged[bytes.length - 1 - random.integer(within)] = random.integer(256);
      }
      const result = await outcome('damaged.parquet', damaged);
      expect(typeof result === 'string' || Array.isArray(result)).toBe(true);
    }
  });
});
