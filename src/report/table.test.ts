import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatBytes } from './quantities.ts';
import { makeTable, markdownTable, spreadColumn, textTable, type Column } from './table.ts';

interface Result {
  readonly mixer: string;
  readonly perplexity: number | undefined;
  readonly bytes: number;
}

const columns: readonly Column<Result>[] = [
  { header: 'mixer', value: (row) => row.mixer },
  { header: 'perplexity', value: (row) => row.perplexity, format: (value) => value.toFixed(2) },
  { header: 'state', unit: 'per session', value: (row) => row.bytes, format: formatBytes },
];
const table = makeTable(columns, [
  { mixer: 'augmented', perplexity: 7.5, bytes: 2048 },
  { mixer: 'local', perplexity: undefined, bytes: 10 },
]);

describe('makeTable', () => {
  it('prints cells, puts units into headings and aligns by content', () => {
    expect(table).toEqual({
      headers: ['mixer', 'perplexity', 'state (per session)'],
      alignments: ['left', 'right', 'right'],
      rows: [
        ['augmented', '7.50', '2 KiB'],
        ['local', '–', '10 B'],
      ],
      numbers: [
        [undefined, 7.5, 2048],
        [undefined, undefined, 10],
      ],
    });
  });

  it('takes a field of the row by its name, if a cell can show it', () => {
    const row = { mixer: 'augmented', perplexity: 7.5, bytes: 2048, layers: [1, 2] };
    expect(makeTable([columns[0], { header: 'state', value: 'bytes' }], [row]).rows).toEqual([['augmented', '2,048']]);
    expect(() => makeTable([{ header: 'layers', value: 'layers' }], [row])).toThrow(/not a text, number or boolean/);
  });

  it('spells numbers with their spreads, and sorts by the numbers', () => {
    const of = (value: number): readonly [number, number?] | undefined =>
      value === 0 ? undefined : [value, value > 6 ? Number.NaN : 0.21];
    const { rows, numbers } = makeTable([spreadColumn('change', of, 2, true)], [5.3, -2, 7, 0]);
    expect(rows.flat()).toEqual(['+5.30 ± 0.21', '−2.00 ± 0.21', '+7.00', '–']);
    expect(numbers).toEqual([[5.3], [-2], [7], [undefined]]);
  });

  it('has what a reader sorts by where a cell is no number', () => {
    const column = { header: 'ppl', value: (value: number) => `${value} ± 1`, sortBy: (value: number) => value };
    expect(makeTable([column], [5, 7]).numbers).toEqual([[5], [7]]);
  });

  it('prints booleans and unformatted numbers', () => {
    const { rows } = makeTable(
      [
        { header: 'a', value: (row: [boolean, number]) => row[0] },
        { header: 'b', value: (row) => row[1] },
      ],
      [[true, 1 / 3]],
    );
    expect(rows).toEqual([['yes', '0.3333']]);
  });

  it('refuses a table without columns', () => {
    expect(() => makeTable([], [1])).toThrow(/at least one/);
  });
});

describe('textTable', () => {
  it('lines columns up', () => {
    expect(textTable(table)).toBe(
      [
        'mixer      perplexity  state (per session)',
        '─────────  ──────────  ───────────────────',
        'augmented        7.50                2 KiB',
        'local               –                 10 B',
      ].join('\n'),
    );
  });

  it('prints headings alone for no rows', () => {
    expect(textTable(makeTable(columns, [])).split('\n')).toHaveLength(2);
  });

  it('keeps every row on its line and in its column, whatever the text', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.string({ unit: 'binary' }), fc.string())), (rows) => {
        const text = textTable(
          makeTable(
            [
              { header: 'a', value: (row: [string, string]) => row[0] },
              { header: 'b', value: (row) => row[1] },
            ],
            rows,
          ),
        );
        expect(text.split('\n')).toHaveLength(rows.length + 2);
        expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
      }),
      { seed: 2 },
    );
  });

  it('lines up columns after wide characters, marks, emoji and characters without width', () => {
    const cells = ['abcd', '日本', 'e\u0301xyz', '😀cd', '', '\u200b'];
    const table = makeTable<string>(
      [
        { header: 'text', value: (cell) => cell },
        { header: 'end', value: () => '|' },
      ],
      cells,
    );
    const [, , ...lines] = textTable(table).split('\n');
    expect(lines).toEqual(['abcd  |', '日本  |', 'e\u0301xyz  |', '😀cd  |', '      |', '\u200b      |']);
  });
});

describe('markdownTable', () => {
  it('writes alignment and rows', () => {
    expect(markdownTable(table)).toBe(
      [
        '| mixer | perplexity | state (per session) |',
        '| --- | ---: | ---: |',
        '| augmented | 7.50 | 2 KiB |',
        '| local | – | 10 B |',
      ].join('\n'),
    );
  });

  it('lets no text out of its cell', () => {
    const hostile = makeTable([{ header: 'text', value: (row: string) => row }], ['a|b\n| c | *d* <script> \\| `x`']);
    expect(markdownTable(hostile).split('\n')[2]).toBe('| a\\|b \\| c \\| \\*d\\* &lt;script> \\\\\\| \\`x\\` |');
  });
});
