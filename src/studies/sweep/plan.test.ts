import { describe, expect, it } from 'vitest';
import { mixerPreset } from '../../attention/presets.ts';
import { describeMixer } from '../../attention/mixers.ts';
import { tinyConfig } from '../../../test/models/tiny-model.ts';
import { describeModel, type Model } from '../../models/families/index.ts';
import { parsePlan } from '../frame/study.ts';
import { type SweepPlan, sweepVariants } from './plan.ts';
import { sweepStudy } from './study.ts';

const parseSweepPlan = (json: unknown, source: string): SweepPlan => parsePlan(sweepStudy.definition, json, source);

const modelOf = (family: string): Model => describeModel({ ...tinyConfig(family), num_hidden_layers: 3 });

const plan = {
  version: 1,
  title: 'a study',
  data: ['book.txt'],
  heldOut: 0.1,
  tokenizer: 'tokenizer',
  models: { small: { config: { model_type: 'llama' } } },
  methods: { softmax: { preset: 'softmax' } },
  seeds: [1],
  training: {},
};

describe('parseSweepPlan', () => {
  it('fills in the defaults', () => {
    expect(parseSweepPlan(plan, 'plan.json')).toMatchObject({ field: 'text', windows: 64 });
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ['unknown fields', { window: 3 }, /plan\.json is not a plan of the study "sweep":[^]*Unrecognized key: "window"/],
    ['no method', { methods: {} }, /name at least one/],
    ['a method that is neither preset nor mixer', { methods: { a: { group: 4 } } }, /either "preset" or "mixer"/],
    ['a method that is both', { methods: { a: { preset: 'relu', mixer: { kind: 'softmax' } } } }, /either "preset"/],
    ['a model without a beginning', { models: { a: {} } }, /either "config" or "folder"/],
    ['names that are paths', { methods: { '../a': { preset: 'relu' } } }, /methods\["\.\.\/a"\]/],
    ['the same seed twice', { seeds: [1, 2, 1] }, /a seed is listed twice/],
    ['no seed', { seeds: [] }, /seeds/],
  ])('refuses %s', (_, fields, message) => {
    const parse = (): unknown => parseSweepPlan({ ...plan, ...fields }, 'plan.json');
    expect(parse).toThrow(message);
    expect(parse).toThrow(expect.objectContaining({ code: 'CONFIG' }));
  });
});

describe('sweepVariants', () => {
  const variants = (methods: Record<string, unknown>): [string, boolean | undefined, string][] =>
    sweepVariants(parseSweepPlan({ ...plan, methods }, 'plan.json')).map(({ method, augmented, changed }) => [
      method,
      augmented,
      changed(modelOf('llama')).mixers.map(describeMixer).join(' | '),
    ]);

  it('has the form of a preset that reads whole texts for encoders', () => {
    const [plain] = sweepVariants(parseSweepPlan({ ...plan, methods: { l: { preset: 'linformer' } } }, 'plan.json'));
    const layers = (preset: string) => Array.from({ length: 3 }, () => mixerPreset(preset));
    expect(plain.changed(modelOf('llama')).mixers).toEqual(layers('linformer'));
    expect(plain.changed(modelOf('bert')).mixers).toEqual(layers('linformer-bidirectional'));
  });

  it('runs a method plain and augmented where it can gain the convolution', () => {
    const methods = {
      softmax: { preset: 'softmax' },
      ReLU: { preset: 'relu', group: 8, kernel: 5 },
      augmented: { preset: 'augmented', group: 8, kernel: 5 },
    };
    expect(variants(methods).map(([method, augmented]) => [method, augmented])).toEqual([
      ['softmax', false],
      ['ReLU', false],
      ['ReLU', true],
      ['augmented', false],
    ]);
    expect(variants(methods)[1][2]).not.toContain('convolution');
    expect(variants(methods)[2][2]).toContain('convolution 5');
  });

  it('gives the first layers a mixer of their own', () => {
    const block = { kind: 'linear', group: 8, local: { kernel: 'softmax' } };
    const [[, , layers]] = variants({ TransNormer: { preset: 'transnormer', first: { layers: 2, mixer: block } } });
    const [first, second, third] = layers.split(' | ');
    expect(first).toContain('softmax');
    expect(second).toBe(first);
    expect(third).not.toBe(first);
  });

  it('names the method that is wrong', () => {
    expect(() => variants({ mine: { preset: 'mamba' } })).toThrow(/method "mine": unknown mixer 'mamba'/);
    expect(() => variants({ mine: { preset: 'softmax', augmented: true } })).toThrow(
      /method "mine": 'softmax attention' has no convolution/,
    );
  });
});
