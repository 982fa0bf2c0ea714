/** Options out of schemas: what is required, what help says, what is refused. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { lastJson, runCaptured } from '../../../test/cli/captured-cli.ts';
import { LinnetError, OptionsError } from '../../errors.ts';
import { defineCommand } from './command.ts';
import { optionsOf } from './schema-options.ts';

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

const table = [{ words: ['it'] as const, summary: 'it', load: async () => command }];
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
