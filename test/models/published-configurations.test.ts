/**
 * Every config.json of the published folder is described, or refused for a reason that the page names; parameters have the
 * names of the published index, and are as many as its bytes say. `vitest -u` writes the page.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { quantizationOf, quantizedMethod } from '../../src/checkpoint/quantized/config.ts';
import { LinnetError } from '../../src/errors.ts';
import { isJsonObject, type JsonObject } from '../../src/files/json-object.ts';
import { describeClassifier, isClassifierConfig } from '../../src/models/classifiers/classifier.ts';
import { describeModel } from '../../src/models/families/index.ts';
import type { ModelDescription } from '../../src/models/model.ts';
import { formatShortCount } from '../../src/report/quantities.ts';
import { present, thirdParty } from '../fixtures.ts';

const folder = thirdParty('published');
const otherFiles = /(tokenizer|generation|adapter|processor|quantization|quantize|quant)_config\.json$/;

/** Paths in the folder, without `config.json` where a folder is a model's. */
const paths =
  folder === undefined
    ? []
    : readdirSync(folder, { recursive: true, encoding: 'utf8' })
        .filter((path) => /config[^/]*\.json$/.test(path) && !otherFiles.test(path) && !/kwargs|reduced/.test(path))
        .sort();

type Described = Pick<ModelDescription, 'parameters' | 'optionalParameters' | 'parameterName'> &
  Pick<ModelDescription, 'unknownFields'>;

const readJson = (path: string): JsonObject => {
  const json: unknown = JSON.parse(readFileSync(join(present(folder), path), 'utf8'));
  if (isJsonObject(json)) return json;
  throw new Error(`${path} is no object`);
};

function described(config: JsonObject): Described & { readonly family: string } {
  if (!isClassifierConfig(config)) return describeModel(config);
  const classifier = describeClassifier(config);
  const { family, unknownFields } = classifier.model;
  return { ...classifier, family, unknownFields };
}

const count = ({ parameters }: Described): number =>
  [...parameters.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);

/** The index next to a configuration. */
const indexes = paths.flatMap((path) => {
  const index = join(dirname(path), 'model.safetensors.index.json');
  return path.endsWith('/config.json') && thirdParty(join('published', index)) !== undefined ? [{ path, index }] : [];
});

/** The reason of a refusal, in a cell of a table. */
function reason(error: unknown): string {
  if (!(error instanceof LinnetError)) throw error;
  const lines = error.message.replace(/^unusable (.*) config\.json:\n/, '').replace(/^config\.json: /, '');
  const parts = lines
    .split(/\n|; /)
    .filter((part) => !/^(supported|fields that are used|the text models of)\b/.test(part));
  return parts
    .slice(0, 2)
    .join(' ')
    .replace('✖ ', '')
    .replace(/\s+→ at /, ', at ')
    .replaceAll('|', '/');
}

/** How matrices are stored, where they are quantized. */
function storageRemark(config: JsonObject): readonly string[] {
  const method = quantizedMethod(config);
  if (method === undefined) return [];
  try {
    quantizationOf(config, 'config.json');
    return [`matrices of ${method}: supported`];
  } catch {
    return [`matrices of ${method}: unsupported`];
  }
}

const rowOf = (path: string): { readonly isOpened: boolean; readonly row: string } => {
  const name = path.replace(/\/config\.json$/, '').replace(/\.(config\.)?json$/, '');
  const config = readJson(path);
  try {
    const model = described(config);
    const remarks = [
      ...(indexes.some((other) => other.path === path) ? ['names match the index'] : []),
      ...(model.unknownFields ?? []).map((field) => `\`${field}\` is not read`),
      ...storageRemark(config),
    ];
    return {
      isOpened: true,
      row: `| ${name} | \`${model.family}\` | ${formatShortCount(count(model))} | ${remarks.join(', ')} |`,
    };
  } catch (error) {
    return { isOpened: false, row: `| ${name} | ${reason(error)} |` };
  }
};

const mark = '<!-- written by test/models/published-configurations.test.ts -->';

function page(before: string): string {
  const rows = paths.map(rowOf);
  const opened = rows.filter(({ isOpened }) => isOpened).map(({ row }) => row);
  const refused = rows.filter(({ isOpened }) => !isOpened).map(({ row }) => row);
  return [
    before.slice(0, before.indexOf(mark) + mark.length),
    '',
    `Of ${rows.length} published configurations, ${opened.length} open, with parameters and shapes derived from them.`,
    '',
    ...['| configuration | family | parameters | remarks |', '|---|---|---:|---|', ...opened, ''],
    `${refused.length} are refused:`,
    '',
    ...['| configuration | reason |', '|---|---|', ...refused, ''],
  ].join('\n');
}

describe.skipIf(folder === undefined)('published configurations (../shared/fixtures/published)', () => {
  it('are opened, or refused for the reason that the page of them has', async () => {
    const file = join(import.meta.dirname, '../../docs/reference/published-configurations.md');
    expect(paths.length).toBeGreaterThan(70);
    await expect(page(readFileSync(file, 'utf8'))).toMatchFileSnapshot(file);
  });

  it.each(
    indexes
      .map(({ path, index }) => [dirname(path), path, index] as const)
      .filter(([name]) => !name.includes('Qwen-VL')),
  )('%s has the parameters of its index', (_, path, indexPath) => {
    const model = described(readJson(path));
    const { weight_map: map, metadata } = readJson(indexPath);
    if (!isJsonObject(map) || !isJsonObject(metadata)) throw new Error(`${indexPath} is no index`);
    const isQuantized = Object.keys(map).some((name) => name.endsWith('.scales'));
    const stored = Object.keys(map).filter((name) => !/\.(scales|biases)$/.test(name));
    const names = stored.flatMap((name) => model.parameterName(name) ?? []);
    // A layer that drafts is there whole, or not at all.
    const optional = names.some((name) => name.startsWith('mtp.')) ? (model.optionalParameters ?? []) : [];
    expect(new Set(names)).toEqual(new Set(new Map([...model.parameters, ...optional]).keys()));
    if (isQuantized || names.length < stored.length) return;
    expect([2, 4]).toContain(Number(metadata.total_size) / count(model));
  });
});
