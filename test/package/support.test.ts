/** docs/reference/support.md, which `linnet study matrix` makes, has a row for every mixer and a column for every family. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { mixerPreset, mixerPresetNames } from '../../src/attention/presets.ts';
import { supportedFamilies } from '../../src/models/families/index.ts';

const remedy = '`npx linnet study matrix --out runs/matrix` makes the table of docs/reference/support.md';
const page = readFileSync(new URL('../../docs/reference/support.md', import.meta.url), 'utf8');
const rows = page.split('\n').filter((line) => line.startsWith('| '));
const cells = (row: string): string[] => row.split('|').map((cell) => cell.trim());

it('the page of support has all mixers', () => {
  const configuration = (name: string): string => JSON.stringify(mixerPreset(name));
  const rowNames = rows.map((row) => cells(row)[1]);
  // "local" and "flash-local" are one mixer.
  const shown = new Set(
    mixerPresetNames()
      .filter((name) => rowNames.includes(name))
      .map(configuration),
  );
  expect(
    mixerPresetNames().filter((name) => !shown.has(configuration(name))),
    remedy,
  ).toEqual([]);
});

it('the page of support has all families', () => {
  const named = new Set(cells(rows[0]).map((cell) => cell.split(',')[0].replaceAll('\\_', '_')));
  expect(
    supportedFamilies.filter((name) => !named.has(name)),
    remedy,
  ).toEqual([]);
});

it('the page of support has no failure', () => {
  const failed = rows.slice(2).flatMap((row) =>
    cells(row)
      .slice(2, -1)
      .filter((cell) => !/^(–|F B( D)? .+)$/.test(cell)),
  );
  expect(failed).toEqual([]);
});
