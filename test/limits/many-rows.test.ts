/** Data of more rows than a function call can have arguments. */
import { describe, expect, it } from 'vitest';
import { makeTable, textTable } from '../../src/report/table.ts';
import { evaluationData } from '../../src/evaluation/perplexity/scored-windows.ts';
import { byteTokenizer } from '../../src/tokenizer/bytes.ts';
import { parseDelimited } from '../../src/data/files/delimited.ts';
import { pearson } from '../../src/evaluation/tasks/metrics/statistics.ts';
import { LabelledDataset } from '../../src/data/datasets/labelled.ts';
import { longestLength } from '../../src/data/rows/longest.ts';
import { TextPairDataset } from '../../src/data/datasets/sequence-pairs.ts';

const rows = 200_000;
const repeated = <T>(item: T): T[] => new Array<T>(rows).fill(item);
const tokenizer = byteTokenizer();

describe('many rows', () => {
  it('have a longest one', () => {
    expect(longestLength([...repeated('ab'), 'abc'])).toBe(3);
    expect(longestLength([], 1)).toBe(1);
  });

  it('of labelled texts', () => {
    const texts = repeated({ text: 'yes', label: 'a', source: 'x:1' });
    const data = new LabelledDataset(texts, tokenizer, { layout: 'causal', labels: ['a'], length: 8 });
    expect({ rows: data.rows, length: data.length }).toEqual({ rows, length: 4 });
  });

  it('of a table', () => {
    const column = { header: 'name', value: (name: string) => name };
    expect(textTable(makeTable([column], repeated('ab'))).length).toBeGreaterThan(2 * rows);
  });

  it('of pairs', () => {
    const data = new TextPairDataset(repeated({ source: 'ab', target: 'c' }), tokenizer, { length: 8, startId: 0 });
    expect(data.rows).toBe(rows);
  });

  it('of windows over one text', async () => {
    const text = 'a'.repeat(rows + 2);
    const { windows } = await evaluationData([{ text }], tokenizer, { mode: 'text', length: 2, stride: 1 });
    expect(windows.length).toBeGreaterThan(rows);
  });

  it('or columns, in time that grows with them', () => {
    const [row] = parseDelimited(`${','.repeat(1e6)}\n`, { delimiter: ',', quotes: true }, 'wide.csv');
    expect(row.values).toHaveLength(1e6 + 1);
  });

  it('of correlated values', () => {
    const values = Array.from({ length: rows }, (_, i) => i);
    expect(pearson(values, values)).toBeCloseTo(1, 12);
  });
});
