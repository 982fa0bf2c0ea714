/** The progress line of `generate`: on a terminal, and never over the text. */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { runCli } from '../../src/cli/framework/program.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { saveTinyModel } from '../models/tiny-model.ts';

const folder = suiteFolder();

beforeAll(async () => {
  await saveTinyModel(join(folder, 'model'));
});

/** What stands on stderr, a terminal, after a speculative generation. */
async function progressOf(textOnTerminal: boolean, extra: readonly string[] = []): Promise<string> {
  let stderr = '';
  const words = [
    'generate',
    join(folder, 'model'),
    '--prompt-tokens',
    '1,2,3,1,2',
    '--max-tokens',
    '8',
    '--speculate',
    'lookup',
  ];
  await runCli([...words, '--ignore-eos', ...extra], {
    stdout: { isTTY: textOnTerminal, write: () => true },
    stderr: { isTTY: true, columns: 200, write: (text) => (stderr += text) },
    environment: {},
    interruption: () => new AbortController().signal,
  });
  return stderr;
}

describe('generate --speculate', () => {
  it.each([[['--json']], [[]]])(
    'tells the tokens per step so far next to a text that goes elsewhere: %j',
    async (extra) => {
      expect(await progressOf(false, extra)).toMatch(
        /generate ━+ 8\/8 100 % .*[\d.]+ tokens\/step, [\d.]+ nodes\/step/,
      );
    },
  );

  it('draws nothing over a text on the terminal', async () => {
    expect(await progressOf(true)).not.toContain('generate ');
  });
});
