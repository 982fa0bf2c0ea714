import { describe, expect, it } from 'vitest';
import { lastJson, runCaptured } from '../../../test/cli/captured-cli.ts';
import { LinnetError, requireRunning } from '../../errors.ts';
import { defineCommand, flag, optional, repeated, required, requiredList, withDefault } from './command.ts';
import { type CommandTable, commandTable } from '../command-table.ts';
import { called, folderPath, integer, text } from './option-values.ts';

/** Returns its parameters as JSON, or fails in the way that it is reported. */
const echo = defineCommand({
  description: 'Says what it was given.',
  examples: ['linnet echo here --out there'],
  arguments: { place: required(folderPath, 'a place') },
  options: {
    out: required(folderPath, 'another place'),
    maxTokens: withDefault(integer(1, 10), 4, 'how many'),
    stop: repeated(text, 'where to stop'),
    data: requiredList(called('files', text), 'what to read'),
    fail: optional(called('how', text), 'how to fail'),
    loud: flag('shout'),
  },
  async run(context, values) {
    context.note('a remark');
    context.print('a result');
    context.stream('a piece');
    requireRunning(context.signal, 'at the start');
    failures[values.fail ?? '']?.();
    return { json: values, negative: values.fail === 'negative' };
  },
});

const resumable = defineCommand({
  description: 'Fails by a full disk.',
  examples: ['linnet resumable'],
  arguments: {},
  options: { resume: flag('go on') },
  run: () => Promise.reject(new LinnetError('PATH', 'cannot write there', { cause: diskError() })),
});

const diskError = (): Error =>
  Object.assign(new Error('no space left on device'), { code: 'ENOSPC', syscall: 'write' });

const failures: Readonly<Record<string, (() => never) | undefined>> = {
  file: () => {
    throw new LinnetError('FORMAT', 'the file is broken', { cause: new Error('of this') });
  },
  engine: () => {
    throw new LinnetError('RUNTIME', 'the engine failed');
  },
  disk: () => {
    throw diskError();
  },
  refused: () => {
    const cause = Object.assign(new Error('permission denied'), { code: 'EACCES', syscall: 'mkdir' });
    throw new LinnetError('PATH', 'cannot create out', { cause });
  },
  temporary: () => {
    const path = '/out/.model.0-1-0-0.tmp';
    throw Object.assign(new Error('permission denied'), { code: 'EACCES', syscall: 'open', path });
  },
  unreadable: () => {
    throw Object.assign(new Error('permission denied'), { code: 'EACCES', syscall: 'open', path: '/in' });
  },
  bug: () => {
    throw new TypeError('undefined is not a function');
  },
};

const table: CommandTable = {
  echo: { summary: 'says what it was given', load: async () => echo },
  resumable: { summary: 'fails by a full disk', load: async () => resumable },
  'eval echo': { summary: 'the same in a group', load: async () => echo },
  other: {
    summary: 'must not be loaded',
    load: () => Promise.reject(new Error('loaded without having been named')),
  },
};

const run = (...words: string[]): ReturnType<typeof runCaptured> => runCaptured(words, { table });
const complete = ['echo', 'here', '--out', 'there', '--data', 'a.txt'];

describe('parameters', () => {
  it('arrive read and with their defaults', async () => {
    const result = await run(...complete, '--json');
    expect(result.exitCode).toBe(0);
    expect(lastJson(result)).toEqual({
      place: 'here',
      out: 'there',
      maxTokens: 4,
      stop: [],
      data: ['a.txt'],
      loud: false,
    });
  });

  it('may be repeated, listed, or look like options', async () => {
    const words = ['--data', 'a', 'b', '--stop', '-x', '--stop=y', '--max-tokens', '10', '--loud', '--json'];
    const json = lastJson(await run('echo', 'here', '--out', 'there', ...words));
    expect(json).toMatchObject({ data: ['a', 'b'], stop: ['-x', 'y'], maxTokens: 10, loud: true });
  });

  it('are found in groups', async () => {
    expect((await run('eval', ...complete)).exitCode).toBe(0);
  });

  it.each([
    [['--max-tokens', '11'], '--max-tokens is "11"; expected a whole number from 1 to 10'],
    [['--max-tokens', '-1'], '--max-tokens is "-1"; expected a whole number from 1 to 10'],
    [['--max-tokens', ''], '--max-tokens is ""; expected'],
    [['--stop', 'a', '--stop', ''], '--stop is ""; expected a non-empty text'],
    [['--max-token', '3'], "unknown option '--max-token' (did you mean --max-tokens?)"],
    [['--max-tokens'], "option '--max-tokens <count>' argument missing"],
    [['--out', ''], '--out is ""; expected a path'],
  ])('with %j are refused', async (words, message) => {
    const result = await run(...complete, ...words);
    expect(result.exitCode).toBe(2);
    expect(result.stderr).toContain(message);
    expect(result.stdout).toBe('');
  });

  it('that are missing or too many are named', async () => {
    expect((await run('echo', '--out', 'there', '--data', 'a')).stderr).toContain("missing required argument 'place'");
    expect((await run('echo', 'here', '--data', 'a')).stderr).toContain("required option '--out <folder>'");
    expect((await run('echo', 'here', 'there', '--out', 'x', '--data', 'a')).stderr).toContain('too many arguments');
  });

  it('that are wrong are named all at once', async () => {
    const { stderr } = await run(...complete, '--max-tokens', 'x', '--stop', '');
    expect(stderr).toMatch(/--max-tokens is "x".*\n--stop is ""/);
  });
});

it.each([
  [['eco', '--help'], "unknown command 'eco' (did you mean echo?)"],
  [['help', 'eco'], "unknown command 'eco' (did you mean echo?)"],
  [['eval', 'eco', '-h'], "unknown command 'eco' (did you mean echo?)"],
])('%j names the nearest command', async (words, message) => {
  const { exitCode, stdout, stderr } = await run(...words);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
  expect(stderr).toContain(message);
});

it.each([[['--help']], [['eval', '--help']], [[]]])('%j lists commands', async (words) => {
  const { stdout, stderr } = await run(...words);
  expect(stdout + stderr).toContain('echo');
});

describe('output', () => {
  it('is for people by default', async () => {
    expect(await run(...complete)).toEqual({ exitCode: 0, stdout: 'a result\na piece', stderr: 'a remark\n' });
    expect((await run(...complete, '--quiet')).stderr).toBe('');
  });

  it('is one line of JSON with --json', async () => {
    const result = await run(...complete, '--json');
    expect(result.stdout.trim().split('\n')).toHaveLength(1);
    expect(result.stderr).toBe('a remark\na result\n');
    expect((await run(...complete, '--json', '--quiet')).stderr).toBe('');
  });
});

it('says how work goes on that a full disk stopped', async () => {
  const result = await run('resumable');
  expect(result.exitCode).toBe(74);
  expect(result.stderr).toBe('linnet: cannot write there. To continue, run the same again with --resume\n');
});

describe('exit codes', () => {
  it.each([
    ['negative', 1, undefined],
    ['file', 3, 'FORMAT'],
    ['disk', 74, 'ENOSPC'],
    ['refused', 74, 'EACCES'],
    ['temporary', 74, 'EACCES'],
    ['unreadable', 3, 'EACCES'],
    ['engine', 4, 'RUNTIME'],
    ['bug', 70, 'INTERNAL'],
  ])('%s → %i', async (fail, exitCode, code) => {
    const result = await run(...complete, '--fail', fail, '--json');
    expect(result.exitCode).toBe(exitCode);
    if (code === undefined) expect(lastJson(result)).toMatchObject({ place: 'here' });
    else expect(lastJson(result)).toMatchObject({ error: { code } });
  });

  it('of usage errors come with JSON too', async () => {
    const result = await run('echo', '--json');
    expect(result.exitCode).toBe(2);
    expect(lastJson(result)).toMatchObject({ error: { code: 'USAGE' } });
  });

  it('tell an interrupted command', async () => {
    const result = await runCaptured([...complete, '--json'], { table, signal: AbortSignal.abort() });
    expect(result.exitCode).toBe(130);
    expect(lastJson(result)).toEqual({ error: { code: 'ABORTED', message: 'stopped at the start' } });
  });
});

describe('stacks', () => {
  it('show on request only, with what caused the error', async () => {
    expect((await run(...complete, '--fail', 'file')).stderr).toBe('a remark\nlinnet: the file is broken\n');
    const debugged = await run(...complete, '--fail', 'file', '--debug');
    expect(debugged.stderr).toMatch(/program\.test\.ts[^]*caused by: Error: of this/);
    const byVariable = await runCaptured([...complete, '--fail', 'file'], {
      table,
      environment: { LINNET_DEBUG: '1' },
    });
    expect(byVariable.stderr).toContain('program.test.ts');
  });

  it('are asked for when the error is ours', async () => {
    expect((await run(...complete, '--fail', 'bug')).stderr).toContain('please report it with the output of --debug');
  });
});

describe('help', () => {
  it('lists all commands without loading them', async () => {
    const { exitCode, stdout } = await run('--help');
    expect(exitCode).toBe(0);
    for (const expected of ['echo', 'other', 'eval', 'Exit codes:', '130']) expect(stdout).toContain(expected);
  });

  it.each([[['echo', '--help']], [['help', 'echo']], [['help', 'eval', 'echo']], [['eval', 'echo', '--help']]])(
    'of a command: %j',
    async (words) => {
      const { exitCode, stdout } = await run(...words);
      expect(exitCode).toBe(0);
      for (const part of [
        '--max-tokens <count>',
        '(default: 4)',
        '--data <files...>',
        '--json',
        'Examples:',
        '<place>',
      ]) {
        expect(stdout).toContain(part);
      }
    },
  );

  it('is shown to who names no command, as an error', async () => {
    const alone = await run();
    expect(alone.exitCode).toBe(2);
    expect(alone.stderr).toContain('Commands:');
    expect((await run('eval')).exitCode).toBe(2);
  });

  it('suggests commands', async () => {
    const { exitCode, stderr } = await run('ehco');
    expect(exitCode).toBe(2);
    expect(stderr).toBe("linnet: unknown command 'ehco' (did you mean echo?)\n");
  });

  it('tells the version', async () => {
    expect((await run('--version')).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect((await run('-V')).stdout).toBe((await run('--version')).stdout);
    expect((await run('echo', '-h')).stdout).toBe((await run('echo', '--help')).stdout);
  });
});

describe('the table', () => {
  it.each(Object.entries(commandTable))('%s has help with examples of options that exist', async (words, entry) => {
    const { stdout, exitCode } = await runCaptured([...words.split(' '), '--help-all']);
    expect(exitCode).toBe(0);
    expect(stdout).toContain(`linnet ${words}`);
    const { examples } = await entry.load();
    for (const example of examples) {
      expect(stdout).toContain(example);
      // What is piped into a command comes before it.
      expect(`${example} `.replace(/^echo [^|]*\| /, '').startsWith(`linnet ${words} `), example).toBe(true);
      for (const [option] of example.matchAll(/--[a-z-]+/g))
        expect(stdout.slice(0, stdout.indexOf('Examples:'))).toContain(`${option} `);
    }
  });

  it.each(Object.entries(commandTable))(
    'of %s --help shows at most 15 options of its own, and says how many rare ones there are',
    async (words) => {
      const optionsOf = (help: string): number => help.match(/^ {2}--/gm)?.length ?? 0;
      const outputOptions = 3; // --json, --quiet, --debug
      const usual = (await runCaptured([...words.split(' '), '--help'])).stdout;
      const all = (await runCaptured([...words.split(' '), '--help-all'])).stdout;
      expect(optionsOf(usual)).toBeLessThanOrEqual(15 + outputOptions);
      const count = optionsOf(all) - optionsOf(usual);
      expect(/(\d+) rare options?: --help-all/.exec(usual)?.[1]).toBe(count === 0 ? undefined : String(count));
    },
  );
});
