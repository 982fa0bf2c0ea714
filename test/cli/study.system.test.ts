/** `linnet study`: help, fields set on the command line, and commands that have moved there. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { movedCommands } from '../../src/cli/command-table.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { errorOf, linnet } from './captured-cli.ts';

const folder = suiteFolder();

describe('linnet study', () => {
  it('lists the studies, and the fields of a plan', async () => {
    const all = await linnet('study', '--help');
    expect(all.stdout).toMatch(/sweep .*perplexity[^]*matrix .*mixer/);
    const one = await linnet('study', 'sweep', '--help');
    expect(one.stdout).toMatch(/Fields of the plan[^]*tokenizer=…[^]*\(required\)[^]*rare options: --help-all/);
  });

  it('sets fields of a plan, and names the wrong ones', async () => {
    const plan = join(folder, 'plan.json');
    await writeFile(plan, JSON.stringify({ training: { steps: 3 }, seeds: [1, 1] }));
    const words = ['study', 'sweep', '--plan', plan, '--out', join(folder, 'out'), '--json'];
    const { code, message } = errorOf(await linnet(...words, '--set', 'title=["not", "a text"]'));
    expect(code).toBe('CONFIG');
    expect(message).toMatch(/plan\.json is not a plan of the study "sweep":[^]*at title/);
    expect(message).toContain('a seed is listed twice');
    const corrected = errorOf(await linnet(...words, '--set', 'seeds=[1]', '--set', 'title=a study'));
    expect(corrected.message).not.toMatch(/title|seed/);
    expect(errorOf(await linnet(...words, '--set', 'seeds')).message).toMatch(/--set is "seeds"; expected key=value/);
  });

  it.each(Object.entries(movedCommands))('says where `linnet %s` is now', async (old, place) => {
    const { exitCode, stderr } = await linnet(...old.split(' '), 'x.json', '--out', 'y');
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining(place)]);
  });
});
