/** docs/tested-models.md has every family, and names shapes and golden files that exist. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { supportedFamilies } from '../../src/models/families/index.ts';
import { encoderShapeNames, publishedShapeNames } from '../../src/models/presets/presets.ts';

const file = (path: string): URL => new URL(`../../${path}`, import.meta.url);
const rows = readFileSync(file('docs/tested-models.md'), 'utf8')
  .split('## Published configurations')[0]
  .split('\n')
  .filter((line) => line.startsWith('| '))
  .slice(2);
/** The words in code of a column. */
const named = (column: number): string[] =>
  rows.flatMap((row) => [...(row.split('|')[column] ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name));

it('the page of tested models has every family that has published checkpoints', () => {
  const families = named(2);
  expect(supportedFamilies.filter((name) => name !== 'flash' && !families.includes(name))).toEqual([]);
  expect(families.filter((name) => !supportedFamilies.includes(name))).toEqual([]);
});

it('the page of tested models names shapes of a published size', () => {
  const shapes = [...publishedShapeNames, ...encoderShapeNames];
  expect(named(3).filter((name) => !shapes.includes(name))).toEqual([]);
});

it('the page of tested models names golden files', () => {
  const golden = readdirSync(file('test/golden'));
  const isThere = (pattern: string): boolean => golden.some((name) => name.startsWith(pattern.replace(/\*$/, '')));
  expect(named(4).length).toBeGreaterThan(0);
  expect(named(4).filter((pattern) => !isThere(pattern))).toEqual([]);
});
