/** Options out of schemas: what is required, what help says, what is refused. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { lastJson, runCaptured } from '../../../test/cli/captured-cli.ts';
import { LinnetError, OptionsError } from '../../errors.ts';
import { defineCommand, repeated, settings } from './command.ts';
import { text } from './option-values.ts';
import { optionsOf } from './schema-options.ts';
import { withField } from './settings.ts';

const shape = {
  data: z.array(z.string().min(1)).min(1).readonly().meta({ placeholder: 'sources', description: 'what to read' }),
  out: z.string().min(1).meta({ placeholder: 'folder', description: 'where it goes' }),
  size: z.int().min(1).max(8).default(4).meta({ placeholder: 'count', description: 'how many' }),
  rate: z.number().min(0).optional().meta({ description: 'how fast; not with `size`' }),
  kinds: z
    .array(z.enum(['a', 'b']))
    .readonly()
    .optional()
    .meta({ description: 'which' }),
  loud: z.boolean().default(false).meta({ description: 'shout' }),
};

const command = defineCommand({
  description: 'Says what it was given.',
  examples: ['linnet it --data x --out y'],
  arguments: {},
  options: optionsOf(shape),
  async run(_context, values) {
    if (values.rate !== undefined && values.size !== undefined) throw new OptionsError('`rate` excludes `size`');
    if (values.loud === true) throw new LinnetError('INPUT', '`loud` and `quiet`');
    return { json: values };
  },
});

const { data, out, ...others } = optionsOf(shape);

/** The same options, all but two rare, and a plan. */
const withSettings = defineCommand({
  description: 'Says what it was given.',
  examples: ['linnet it --data x --out y --size 3'],
  arguments: {},
  options: { data, out, ...settings({ ...others, stop: repeated(text, 'where to stop') }) },
  fields: { seeds: z.array(z.int()).default([1]).describe('of the trials'), training: z.object({}) },
  replaced: { '--tiny': '--size 1' },
  async run(_context, values, set) {
    if (values.rate !== undefined) throw new OptionsError('`rate` excludes `data`');
    return { json: { ...values, plan: set.reduce(withField, { training: { steps: 3 } }) } };
  },
});

const table = {
  it: { summary: 'it', load: async () => command },
  set: { summary: 'set', load: async () => withSettings },
};
const run = (...words: string[]): ReturnType<typeof runCaptured> =>
  runCaptured(['it', '--data', 'x', 'y', '--out', 'z', ...words, '--json'], { table });

describe('options of a schema', () => {
  it('arrive read, and undefined where the library has a default', async () => {
    expect(lastJson(await run('--kinds', 'b,a'))).toEqual({
      data: ['x', 'y'],
      out: 'z',
      kinds: ['b', 'a'],
      loud: false,
    });
    expect(lastJson(await run('--size', '8'))).toMatchObject({ size: 8 });
  });

  it.each([
    [['--size', '9'], /--size is "9"; expected a whole number from 1 to 8/],
    [['--kinds', 'c'], /--kinds is "c"; expected one of a, b/],
    [['--rate', '-1'], /--rate is "-1"; expected a number of at least 0/],
    [['--rate', '1', '--size', '2'], /^linnet: --rate excludes --size/],
  ])('refuse %j', async (words, message) => {
    const { exitCode, stderr } = await run(...words);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(message);
  });

  it('stand for their keys in messages of the library', async () => {
    expect((await run('--loud')).stderr).toMatch(/--loud and `quiet`/);
    expect((await runCaptured(['it', '--data', 'x'], { table })).stderr).toMatch(/--out/);
  });

  it('are described as the schema does, with defaults', async () => {
    const { stdout } = await runCaptured(['it', '--help'], { table });
    expect(stdout).toMatch(/--size <count>\s+how many \(default: 4\)/);
    expect(stdout).toMatch(/--rate <number>\s+how fast; not with --size/);
    expect(stdout).toMatch(/--data <sources\.\.\.>/);
  });
});

describe('rare options and fields of a plan', () => {
  const set = (...words: string[]): ReturnType<typeof runCaptured> =>
    runCaptured(['set', '--data', 'x', '--out', 'z', ...words, '--json'], { table });

  it('arrive as options do, and fields of a plan on top of it', async () => {
    const flags = ['--size', '8', '--loud', '--kinds', 'b,a', '--stop', 'a=b', '--stop', 'c'];
    expect(lastJson(await set(...flags, '--set', 'seeds=[2]', '--set', 'training.rate=high'))).toEqual({
      data: ['x'],
      out: 'z',
      size: 8,
      loud: true,
      kinds: ['b', 'a'],
      stop: ['a=b', 'c'],
      plan: { training: { steps: 3, rate: 'high' }, seeds: [2] },
    });
    expect(lastJson(await set())).toMatchObject({ loud: false, stop: [] });
  });

  it.each([
    [['--size', '9'], /--size is "9"; expected a whole number from 1 to 8/],
    [['--set', 'size=9'], /--set sets fields of the plan; for this option, write --size/],
    [['--set', 'loud'], /--set sets fields of the plan; for this option, write --loud/],
    [['--set', 'data=3'], /--set sets fields of the plan; for this option, write --data/],
    [['--set', 'seeds'], /--set is "seeds"; expected key=value/],
    [['--set', 'seds=3'], /--set has no "seds" \(did you mean seeds\?\); --help-all lists options/],
    [['--rate', '1'], /^linnet: --rate excludes --data/],
  ])('refuse %j', async (words, message) => {
    const { exitCode, stderr } = await set(...words);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(message);
  });

  it.each([
    ['--sizes', 'unknown option --sizes; write --size'],
    ['--loudd', 'unknown option --loudd; write --loud'],
    ['--tiny', 'unknown option --tiny; write --size 1'],
    ['--dat', "unknown option '--dat' (did you mean --data?)"],
    ['--nothing', "unknown option '--nothing'"],
  ])('are named where %s is asked for', async (flag, message) => {
    const { exitCode, stderr } = await runCaptured(['set', '--data', 'x', '--out', 'z', flag], { table });
    expect(exitCode).toBe(2);
    expect(stderr).toContain(message);
  });

  it('are listed by --help-all, fields of a plan by both', async () => {
    const [usual, all] = await Promise.all(
      ['--help', '--help-all'].map(async (help) => (await runCaptured(['set', help], { table })).stdout),
    );
    expect(usual).toMatch(
      /Fields of the plan[^]*seeds=…\s+of the trials \(default: \[1\]\)[^]*5 rare options: --help-all/,
    );
    expect(usual).not.toMatch(/--size </);
    expect(all).toMatch(/--size <count>\s+how many \(default: 4\)\n\s+--rate <number>\s+how fast; not with --size\n/);
    expect(all).toMatch(/Rare options:[^]*\n\s+--loud {2,}shout/);
  });
});
