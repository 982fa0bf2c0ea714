/**
 * Finds the shell and TypeScript blocks in Markdown pages that are marked for .ci/run. A mark is an HTML comment on the line
 * before the block, invisible to readers:
 *
 *     <!-- ci -->                              run the block unchanged
 *     <!-- ci --steps 2 --length 64 -->        run it with these option values, for small sizes
 *     <!-- ci LINNET_THREADS=2 --steps 2 -->   and with these environment variables
 *
 * An override that matches no option of the block is an error, so that marks cannot go stale.
 */

/** One block to run. */
export interface MarkedBlock {
  /** The block's place, for example `README.md:41`. */
  readonly location: string;
  readonly language: 'sh' | 'ts';
  /** Shell lines after the overrides, or a program. */
  readonly text: string;
  readonly environment: Readonly<Record<string, string>>;
}

const MARK = /^<!--\s*ci\b(.*?)-->\s*$/;
const OPENING_FENCE = /^```(sh|ts)\s*$/;
const CLOSING_FENCE = /^```\s*$/;

/**
 * A page's marked blocks, in order.
 * @param path the page's name in locations and errors
 * @throws Error if no shell or TypeScript block follows a mark, a block does not end or an override does not apply
 */
export function markedBlocks(path: string, markdown: string): MarkedBlock[] {
  const lines = markdown.split(/\r?\n/);
  const blocks: MarkedBlock[] = [];
  for (let at = 0; at < lines.length; at++) {
    const mark = MARK.exec(lines[at]);
    if (mark === null) continue;
    const location = `${path}:${at + 1}`;
    const language = OPENING_FENCE.exec(lines[at + 1] ?? '')?.[1];
    if (language !== 'sh' && language !== 'ts') {
      throw new Error(`${location}: a ci mark stands alone. Put it on the line before a \`\`\`sh or \`\`\`ts block.`);
    }
    const end = lines.findIndex((line, index) => index > at + 1 && CLOSING_FENCE.test(line));
    if (end < 0) throw new Error(`${location}: the block after the mark does not end.`);
    blocks.push({ location, language, ...applyMark(location, mark[1], lines.slice(at + 2, end).join('\n')) });
    at = end;
  }
  return blocks;
}

function applyMark(location: string, mark: string, text: string): Pick<MarkedBlock, 'text' | 'environment'> {
  const environment: Record<string, string> = {};
  let small = text;
  const words = mark.split(/\s+/).filter((word) => word !== '');
  for (let at = 0; at < words.length; at++) {
    const word = words[at];
    const assignment = /^([A-Z][A-Z0-9_]*)=(.*)$/.exec(word);
    if (assignment !== null) {
      environment[assignment[1]] = assignment[2];
    } else if (/^--[a-z][a-z0-9-]*$/.test(word) && at + 1 < words.length) {
      small = overrideOption(location, small, word, words[++at]);
    } else {
      throw new Error(`${location}: '${word}' in a ci mark is neither NAME=value nor '--option value'.`);
    }
  }
  return { text: small, environment };
}

/** Replaces the value in every `--option VALUE` or `--option=VALUE` of the script. */
function overrideOption(location: string, script: string, option: string, value: string): string {
  const pattern = new RegExp(String.raw`(?<=(?:^|\s)${option}(?:=|\s+))[^\s\\]+`, 'gm');
  if (!pattern.test(script)) {
    throw new Error(`${location}: the mark sets ${option}, which the block does not use. Correct the mark.`);
  }
  return script.replace(pattern, () => value);
}
