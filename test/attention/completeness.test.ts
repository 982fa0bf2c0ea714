/** No kind of mixer is missing from a test: lists of variants follow from the table, and every form's tests use them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { mixerKinds, registerMixer } from '../../src/attention/kinds/index.ts';
import { parseMixer } from '../../src/attention/mixers.ts';
import { mixerPreset, mixerPresetNames } from '../../src/attention/presets.ts';
import { modelWords } from '../../src/runs/model-words.ts';
import { supportMixers } from '../../src/studies/matrix/cells.ts';
import { groupMeanKind } from './group-mean.ts';
import { examplesOf, examplesWith, type MixerForm } from './mixer-examples.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Where a form is tested, and the list that the test must draw its cases from. */
const tests = {
  'test/attention/reference.test.ts': 'parallel',
  'src/attention/parallel.engine.test.ts': 'parallel',
  'test/attention/bidirectional.engine.test.ts': 'bidirectional',
  'src/decoding/engine.engine.test.ts': 'recurrent',
} as const satisfies Readonly<Record<string, MixerForm>>;

describe.each(Object.entries(tests))('%s', (file, form) => {
  it(`takes its cases from the examples with a form: ${form}`, () => {
    const source = readFileSync(join(root, file), 'utf8');
    const all = form === 'parallel' ? 'mixerExamples|' : '';
    const drawn = new RegExp(`(${all}examplesWith\\('${form}'\\))`);
    expect(drawn.test(source)).toBe(true);
    expect(/\b(it|describe)\.each\(/.test(source)).toBe(true);
  });
});

describe('every kind', () => {
  it.each(mixerKinds())('$kind has examples, which its schema reads', (kind) => {
    const examples = examplesOf(kind);
    expect(Object.keys(examples).length).toBeGreaterThan(0);
    for (const example of Object.values(examples)) expect(kind.schema.safeParse(example).success).toBe(true);
  });

  it.each(mixerKinds().filter(({ family }) => family === undefined))('$kind has a preset', ({ kind, presets }) => {
    const made = Object.keys(presets).map((name) => mixerPreset(name).kind);
    expect(made).toContain(kind);
  });

  it('is in the support matrix by every preset, or by another name of the same mixer', () => {
    const config = (name: string): string => JSON.stringify(mixerPreset(name));
    const inMatrix = new Set(supportMixers().map(config));
    for (const name of mixerPresetNames()) expect(inMatrix, name).toContain(config(name));
  });
});

describe('a kind that is registered', () => {
  it('is in the lists of the forms that it has, and in the support matrix', () => {
    const lists = (): readonly (readonly string[])[] => [
      ...(['parallel', 'recurrent', 'bidirectional', 'cross'] as const).map((form) =>
        examplesWith(form).map(({ name }) => name),
      ),
      supportMixers(),
    ];
    const isListed = (): boolean[] => lists().map((names) => names.includes('group-mean'));
    {
      using _ = registerMixer(groupMeanKind);
      expect(isListed()).toEqual([true, true, false, false, true]);
    }
    expect(isListed()).toEqual([false, false, false, false, false]);
    expect(() => parseMixer({ kind: 'group-mean' })).toThrow(/found "group-mean"; its kind is one of "softmax"/);
    expect(modelWords({ model_type: 'llama', linnet: { mixers: [{ kind: 'group-mean' }] } })).toMatchObject({
      mixer: 'group-mean',
    });
    expect((): unknown => Reflect.apply(registerMixer, undefined, [{}])).toThrow(/a MixerKind with kind, schema/);
  });
});
