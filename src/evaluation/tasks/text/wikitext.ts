/** WikiText is stored with spaces around its punctuation; language models are measured on text without them. */

/** Replacements, in this order. */
const replacements: readonly (readonly [RegExp, string])[] = [
  [/s '/g, "s'"],
  [/ @-@ /g, '-'],
  [/ @,@ /g, ','],
  [/ @\.@ /g, '.'],
  [/ : /g, ': '],
  [/ ; /g, '; '],
  [/ \. /g, '. '],
  [/ ! /g, '! '],
  [/ \? /g, '? '],
  [/ , /g, ', '],
  [/\(\s*([^)]*?)\s*\)/g, '($1)'],
  [/\[\s*([^\]]*?)\s*\]/g, '[$1]'],
  [/\{\s*([^}]*?)\s*\}/g, '{$1}'],
  [/"\s*([^"]*?)\s*"/g, '"$1"'],
  [/'\s*([^']*?)\s*'/g, "'$1'"],
  [/= = = =/g, '===='],
  [/= = =/g, '==='],
  [/= =/g, '=='],
  [/ ° /g, '°'],
  [/ \n/g, '\n'],
  [/\n /g, '\n'],
  [/ N /g, ' 1 '],
  [/ 's/g, "'s"],
];

export function detokenizeWikitext(page: string): string {
  return replacements.reduce((text, [found, replacement]) => text.replace(found, replacement), page);
}

/**
 * The pages of a raw WikiText file. A page begins with a heading of the first level: " = Title = ".
 * @param text with line ends `\n`
 */
export function wikitextPages(text: string): string[] {
  const pages: string[] = [];
  let lines: string[] = [];
  const finish = (): void => {
    const page = lines.join('\n');
    if (page.trim() !== '') pages.push(page);
    lines = [];
  };
  for (const line of text.split('\n')) {
    const heading = line.replaceAll('= = =', '===').replaceAll('= =', '==').trim();
    if (heading.startsWith('= ') && heading.endsWith(' =')) finish();
    lines.push(line);
  }
  finish();
  return pages;
}
