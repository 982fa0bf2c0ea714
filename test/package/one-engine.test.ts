/**
 * One place turns a prompt into tokens, and one opens models: two ways to do either would disagree about BOS, templates or
 * limits sooner or later.
 */
import { describe, expect, it } from 'vitest';
import { sourceFiles } from '../../scripts/source-tree.ts';

/** A thing that one folder does for all others. */
interface OneDoer {
  /** What it does, for messages. */
  readonly what: string;
  /** How code looks that does it. */
  readonly sign: RegExp;
  /** Where it is done. */
  readonly home: RegExp;
  /** Files elsewhere that still do it. This list may only become shorter. */
  readonly stillIn: readonly string[];
}

/** `data` makes rows for training out of documents, which is no prompt. */
const prompts: OneDoer = {
  what: 'src/engine turns a prompt into tokens',
  sign: /([tT]okenizer(\(\))?|[tT]emplate|templateOf\(\w+\))\.encode\(|\btextTokens\(/,
  home: /^src\/(engine|tokenizer|data)\//,
  stillIn: ['src/serving/http/token-routes.ts'],
};

/** What makes an engine out of the files of a model. Training and measurements of weights in memory compile their own. */
const openers: OneDoer = {
  what: 'src/open opens models',
  sign: /\b(assembleEngine|openExportedHeads|folderFiles|openInPlace)\(|\bDecodingEngine\.(create|compile)\(/,
  home: /^src\/(open\/|export\/assemble|checkpoint\/load-model|decoding\/engine)/,
  stillIn: [
    'src/cli/commands/check.ts', // the weights whose forms it compares
    'src/conversion/judge.ts',
    'src/evaluation/check/forms.ts',
    'src/studies/sweep/text-labels.ts', // the weights that a trial has trained
    'src/studies/matrix/cells.ts',
  ],
};

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*/g, '');
}

describe.each([prompts, openers])('$what', ({ what, sign, home, stillIn }) => {
  const elsewhere = sourceFiles('src')
    .filter(({ path, text }) => !home.test(path) && sign.test(withoutComments(text)))
    .map(({ path }) => path);

  it('and no other folder', () => {
    const added = elsewhere.filter((path) => !stillIn.includes(path));
    expect(added, `Only ${what}: ask it, or move the code there.`).toEqual([]);
  });

  it('with a list of exceptions that only becomes shorter', () => {
    expect(stillIn.filter((path) => !elsewhere.includes(path))).toEqual([]);
  });
});
