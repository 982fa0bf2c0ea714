/** The marks that tell .ci/run which blocks of the documentation to run. */
import { describe, expect, it } from 'vitest';
import { markedBlocks } from '../../scripts/markdown-blocks.ts';

const page = (mark: string, ...commands: string[]): string => ['# Page', mark, '```sh', ...commands, '```'].join('\n');

describe('markedBlocks', () => {
  it('finds marked shell blocks in order and leaves the others', () => {
    const markdown = [
      page('<!-- ci -->', 'npx linnet --version'),
      page('text', 'rm -rf everything'),
      '```json\n{}\n```',
      page('<!-- ci -->', 'echo one', 'echo two'),
    ].join('\n\n');
    expect(markedBlocks('README.md', markdown)).toEqual([
      { location: 'README.md:2', language: 'sh', text: 'npx linnet --version', environment: {} },
      { location: 'README.md:18', language: 'sh', text: 'echo one\necho two', environment: {} },
    ]);
  });

  it('finds marked programs', () => {
    const markdown = ['<!-- ci -->', '```ts', "import { open } from 'linnet';", '```'].join('\n');
    expect(markedBlocks('p.md', markdown)).toMatchObject([{ language: 'ts', text: "import { open } from 'linnet';" }]);
  });

  it('finds nothing in a page without marks', () => {
    expect(markedBlocks('README.md', page('', 'npm test'))).toEqual([]);
  });

  it('replaces the values of options, in both spellings and across continued lines', () => {
    const markdown = page(
      '<!-- ci --steps 2 --length 64 -->',
      'linnet a --steps 200 \\',
      '  --length=512 --steps-per-log 7',
    );
    expect(markedBlocks('p.md', markdown)[0].text).toBe('linnet a --steps 2 \\\n  --length=64 --steps-per-log 7');
  });

  it('replaces with the text as it is', () => {
    expect(markedBlocks('p.md', page('<!-- ci --out $&x -->', 'linnet a --out DIR'))[0].text).toBe(
      'linnet a --out $&x',
    );
  });

  it('reads environment variables', () => {
    expect(markedBlocks('p.md', page('<!-- ci THREADS=2 EMPTY= -->', 'true'))[0].environment).toEqual({
      THREADS: '2',
      EMPTY: '',
    });
  });

  it.each([
    ['an override that matches nothing', page('<!-- ci --steps 2 -->', 'linnet a --length 3'), /does not use/],
    ['a word it does not know', page('<!-- ci quickly -->', 'true'), /neither NAME=value/],
    ['an override without a value', page('<!-- ci --steps -->', 'linnet a --steps 3'), /neither NAME=value/],
    ['a mark without a block', '<!-- ci -->\n\ntext', /stands alone/],
    ['a block that does not end', '<!-- ci -->\n```sh\ntrue', /does not end/],
  ])('refuses %s', (_, markdown, message) => {
    expect(() => markedBlocks('p.md', markdown)).toThrow(message);
  });
});
