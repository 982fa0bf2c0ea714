import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { scratchFolder } from '../../test/scratch-folder.ts';
import { RunFolder } from './run-folder.ts';

const schema = z.strictObject({ step: z.int() });
const state = { file: 'state.json', schema, what: 'a state', remedy: 'begin anew' };
const steps = { file: 'steps.jsonl', schema, what: 'a journal of steps' };

describe('a document of a run folder', () => {
  it('is what was written last, nothing before that, and refused when damaged', async () => {
    const folder = new RunFolder(await scratchFolder());
    expect([folder.has(state), await folder.read(state)]).toEqual([false, undefined]);
    await expect(folder.load(state)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    for (const step of [1, 2]) await folder.write(state, { step });
    expect(await folder.load(state)).toEqual({ step: 2 });
    const whole = await readFile(join(folder.path, 'state.json'), 'utf8');
    await writeFile(join(folder.path, 'state.json'), whole.slice(0, -4));
    await expect(folder.read(state)).rejects.toThrow(/state\.json is not JSON; begin anew/);
    await writeFile(join(folder.path, 'state.json'), '{"step":"one"}');
    await expect(folder.read(state)).rejects.toThrow(/state\.json is not a state; begin anew:[^]*step/);
    await expect(folder.read({ ...state, mostBytes: 4 })).rejects.toMatchObject({ code: 'FORMAT' });
  });
});

describe('a journal of a run folder', () => {
  it('goes on after a stop, without a torn line and with the lines that are wanted', async () => {
    const folder = new RunFolder(join(await scratchFolder(), 'new'));
    const first = await folder.journal(steps);
    first.append({ step: 1 }, { step: 2 });
    first.append({ step: 3 });
    first.close();
    expect(() => first.append({ step: 4 })).toThrow(/is closed/);
    await writeFile(first.path, '{"step":1}\n{"step":2}\n{"step":3}\n{"st');
    const second = await folder.journal(steps, ({ step }) => step < 3);
    expect(second.kept).toEqual([{ step: 1 }, { step: 2 }]);
    second.append({ step: 3 });
    expect(await readFile(second.path, 'utf8')).toBe('{"step":1}\n{"step":2}\n{"step":3}\n');
    await second.remove();
    await expect(folder.loadLines(steps)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('names a damaged line, or passes it over', async () => {
    const folder = new RunFolder(await scratchFolder());
    // Journals of earlier versions begin lines with a line break, and so have torn ones in the middle.
    await writeFile(join(folder.path, steps.file), '\n{"step":1}\n{"st\n{"step":2}');
    await expect(folder.loadLines(steps)).rejects.toThrow(/steps\.jsonl, line 1 is not JSON/);
    expect(await folder.loadLines({ ...steps, isForgiving: true })).toEqual([{ step: 1 }, { step: 2 }]);
  });
});
