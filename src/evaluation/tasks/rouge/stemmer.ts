/**
 * Porter's stemmer (An algorithm for suffix stripping, Program 14(3), 1980) with NLTK's default departures, which published
 * ROUGE numbers use: irregular forms, short words, `-ied`/`-ies` in short words, `-y` after a consonant, `-alli`, `-fulli`,
 * `-logi`, `-bli`, and other exceptions for double consonants.
 */

/** Words with a given stem. */
const irregular = table(
  'sky:sky skies:sky dying:die lying:lie tying:tie news:news innings:inning inning:inning outings:outing outing:outing ' +
    'cannings:canning canning:canning howe:howe proceed:proceed exceed:exceed succeed:succeed',
);

interface Rule {
  readonly suffix: string;
  readonly replacement: string;
  /** Condition on the stem before the suffix. */
  readonly condition: (stem: string) => boolean;
}

/** Pairs of words separated by colons. */
function table(pairs: string): ReadonlyMap<string, string> {
  return new Map(pairs.split(' ').map((pair) => [pair.slice(0, pair.indexOf(':')), pair.slice(pair.indexOf(':') + 1)]));
}

function rules(condition: Rule['condition'], pairs: string): Rule[] {
  return Array.from(table(pairs), ([suffix, replacement]) => ({ suffix, replacement, condition }));
}

/** Each letter as `v` or `c`: vowels, and a y after a consonant; consonants. */
function shapeOf(word: string): string {
  let shape = '';
  for (const letter of word) shape += 'aeiou'.includes(letter) || (letter === 'y' && shape.endsWith('c')) ? 'v' : 'c';
  return shape;
}

/** The paper's m: how often a consonant follows a vowel. */
function measure(stem: string): number {
  return shapeOf(stem).match(/vc/g)?.length ?? 0;
}

const hasMeasure = (stem: string): boolean => measure(stem) > 0;
const hasMeasureAboveOne = (stem: string): boolean => measure(stem) > 1;
const always = (): boolean => true;

/** The paper's `*o`, and NLTK's: also a two-letter word of a vowel and a consonant. */
function endsInShortSyllable(word: string): boolean {
  const shape = shapeOf(word);
  return shape.length === 2 ? shape === 'vc' : shape.endsWith('cvc') && !/[wxy]$/.test(word);
}

/** The first rule whose suffix matches decides: it replaces the suffix if the condition holds, otherwise nothing changes. */
function applyRules(word: string, all: readonly Rule[]): string {
  const rule = all.find(({ suffix }) => word.endsWith(suffix));
  if (rule === undefined) return word;
  const stem = word.slice(0, word.length - rule.suffix.length);
  return rule.condition(stem) ? stem + rule.replacement : word;
}

function plural(word: string): string {
  if (word.endsWith('ies') && word.length === 4) return word.slice(0, -1);
  return applyRules(word, rules(always, 'sses:ss ies:i ss:ss s:'));
}

function pastAndProgressive(word: string): string {
  if (word.endsWith('ied')) return word.slice(0, -3) + (word.length === 4 ? 'ie' : 'i');
  if (word.endsWith('eed')) return hasMeasure(word.slice(0, -3)) ? word.slice(0, -1) : word;
  const suffix = ['ed', 'ing'].find((end) => word.endsWith(end) && shapeOf(word.slice(0, -end.length)).includes('v'));
  if (suffix === undefined) return word;
  const stem = word.slice(0, -suffix.length);
  if (/(?:at|bl|iz)$/.test(stem)) return `${stem}e`;
  if (/(.)\1$/.test(stem) && shapeOf(stem).endsWith('c')) return /[lsz]$/.test(stem) ? stem : stem.slice(0, -1);
  return measure(stem) === 1 && endsInShortSyllable(stem) ? `${stem}e` : stem;
}

/** NLTK: y becomes i after a consonant that is not the first letter. */
const finalY = rules((stem) => stem.length > 1 && shapeOf(stem).endsWith('c'), 'y:i');

const doubleSuffixes: readonly Rule[] = [
  ...rules(
    hasMeasure,
    'ational:ate tional:tion enci:ence anci:ance izer:ize bli:ble alli:al entli:ent eli:e ousli:ous ization:ize ation:ate ' +
      'ator:ate alism:al iveness:ive fulness:ful ousness:ous aliti:al iviti:ive biliti:ble fulli:ful',
  ),
  // The measure counts logi's l as part of the stem.
  ...rules((stem) => hasMeasure(`${stem}l`), 'logi:log'),
];

const adjectives = rules(hasMeasure, 'icate:ic ative: alize:al iciti:ic ical:ic ful: ness:');

const suffixes: readonly Rule[] = [
  ...rules(hasMeasureAboveOne, 'al: ance: ence: er: ic: able: ible: ant: ement: ment: ent:'),
  ...rules((stem) => hasMeasureAboveOne(stem) && /[st]$/.test(stem), 'ion:'),
  ...rules(hasMeasureAboveOne, 'ou: ism: ate: iti: ous: ive: ize:'),
];

function doubleSuffix(word: string): string {
  // NLTK: after removing -alli, the rest may itself end in a suffix of this step.
  if (word.endsWith('alli') && hasMeasure(word.slice(0, -4))) return doubleSuffix(word.slice(0, -2));
  return applyRules(word, doubleSuffixes);
}

function finalE(word: string): string {
  if (!word.endsWith('e')) return word;
  const stem = word.slice(0, -1);
  return hasMeasureAboveOne(stem) || (measure(stem) === 1 && !endsInShortSyllable(stem)) ? stem : word;
}

function finalDoubleL(word: string): string {
  return word.endsWith('ll') && hasMeasureAboveOne(word.slice(0, -1)) ? word.slice(0, -1) : word;
}

/** The paper's steps 1a to 5b. */
const steps: readonly ((word: string) => string)[] = [
  plural,
  pastAndProgressive,
  (word) => applyRules(word, finalY),
  doubleSuffix,
  (word) => applyRules(word, adjectives),
  (word) => applyRules(word, suffixes),
  finalE,
  finalDoubleL,
];

/** A lower-case word's stem. Words of one or two letters are their own. */
export function porterStem(word: string): string {
  if (word.length <= 2) return word;
  return irregular.get(word) ?? steps.reduce((stem, step) => step(stem), word);
}
