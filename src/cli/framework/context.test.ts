import { describe, expect, it } from 'vitest';
import { requireRunning } from '../../errors.ts';
import { makeContext } from './context.ts';

function capture(isTTY: boolean, options: { json?: boolean; quiet?: boolean } = {}) {
  const printed = { stdout: '', stderr: '' };
  let asked = 0;
  const controller = new AbortController();
  const context = makeContext(
    {
      stdout: { isTTY, write: (text) => (printed.stdout += text) },
      stderr: { isTTY, write: (text) => (printed.stderr += text) },
      environment: {},
      interruption() {
        asked++;
        return controller.signal;
      },
    },
    { json: options.json ?? false, quiet: options.quiet ?? false },
  );
  return { context, printed, controller, timesAsked: () => asked };
}

describe('generated text', () => {
  const hostile = 'a\x1b[2Jb\r\x07\tc\n\u009bd';

  it('cannot steer a terminal', () => {
    const { context, printed } = capture(true);
    context.stream(hostile);
    expect(printed.stdout).toBe('a\ufffd[2Jb\ufffd\ufffd\tc\n\ufffdd');
  });

  it('reaches pipes as it is, and nothing with --json', () => {
    const { context, printed } = capture(false);
    context.stream(hostile);
    expect(printed.stdout).toBe(hostile);
    const machine = capture(true, { json: true });
    machine.context.stream(hostile);
    expect(machine.printed).toEqual({ stdout: '', stderr: '' });
  });
});

describe('progress', () => {
  it('shows on a terminal, unless asked not to', () => {
    const shown = (isTTY: boolean, quiet: boolean): string => {
      const { context, printed } = capture(isTTY, { quiet });
      context.progress('work', 'steps').update(1, 2);
      return printed.stderr;
    };
    expect(shown(true, false)).toContain('work');
    expect(shown(true, true)).toBe('');
    expect(shown(false, false)).toBe('');
  });

  it('ends with the work it goes with, whether that succeeds or fails', async () => {
    const { context, printed } = capture(true);
    const gone = '\r\x1b[K';
    const work = (fails: boolean): Promise<number> =>
      context.withProgress('work', 'steps', ({ onProgress }) => {
        onProgress(1, 2);
        expect(printed.stderr).not.toMatch(/\r\x1b\[K$/);
        if (fails) throw new Error('no more steps');
        return 7;
      });
    expect(await work(false)).toBe(7);
    expect(printed.stderr.endsWith(gone)).toBe(true);
    printed.stderr = '';
    await expect(work(true)).rejects.toThrow('no more steps');
    expect(printed.stderr.endsWith(gone)).toBe(true);
  });
});

describe('interruption', () => {
  it('is listened to only once a command asks for it', () => {
    const { context, timesAsked, controller } = capture(false);
    expect(timesAsked()).toBe(0);
    requireRunning(context.signal, 'early');
    expect(timesAsked()).toBe(1);
    controller.abort();
    expect(() => requireRunning(context.signal, 'late')).toThrow('stopped late');
    expect(context.signal.aborted).toBe(true);
  });
});
