/** Removes the spaces that WikiText has around punctuation; language models are measured on text without them. */

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
