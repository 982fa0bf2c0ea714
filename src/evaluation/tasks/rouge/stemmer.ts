/**
 * Porter's stemmer (An algorithm for suffix stripping, Program 14(3), 1980) with the departures that NLTK makes by
 * default, since published ROUGE numbers are computed with those: irregular forms, short words, `-ied`/`-ies` of short
 * words, `-y` after a consonant, `-alli`, `-fulli`, `-logi`, `-bli`, and double consonants kept in other places.
 */

/** Words whose stem is given. */
const irregular: Readonly<Record<string, string>> = {
  sky: 'sky',
  skies: 'sky',
  dying: 'die',
  lying: 'lie',
  tying: 'tie',
  news: 'news',
  innings: 'inning',
  inning: 'inning',
  outings: 'outing',
  outing: 'outing',
  cannings: 'canning',
  canning: 'canning',
  howe: 'howe',
  proceed: 'proceed',
  exceed: 'exceed',
  succeed: 'succeed',
};

interface Rule {
  readonly suffix: string;
  readonly replacement: string;
  /** Condition on the stem before the suffix. */
  readonly condition: (stem: string) => boolean;
}

const isVowel = (letter: string): boolean => 'aeiou'.includes(letter);

/** Whether the letter at an index is a consonant: not a vowel, nor a y after a consonant. */
function isConsonant(word: string, index: number): boolean {
  if (isVowel(word[index])) return false;
  return word[index] !== 'y' || index === 0 || !isConsonant(word, index - 1);
}

/** m of the paper: how often a vowel is followed by a consonant. */
function measure(stem: string): number {
  let count = 0;
  for (let i = 1; i < stem.length; i++) if (!isConsonant(stem, i - 1) && isConsonant(stem, i)) count++;
  return count;
}

const hasMeasure = (stem: string): boolean => measure(stem) > 0;
const hasMeasureAboveOne = (stem: string): boolean => measure(stem) > 1;
const always = (): boolean => true;

function hasVowel(stem: string): boolean {
  return Array.from(stem).some((_, index) => !isConsonant(stem, index));
}

function endsInDoubleConsonant(word: string): boolean {
  const last = word.length - 1;
  return last > 0 && word[last] === word[last - 1] && isConsonant(word, last);
}

/** `*o` of the paper, and NLTK's: also a word of two letters that is a vowel and a consonant. */
function endsInShortSyllable(word: string): boolean {
  const last = word.length - 1;
  if (last === 1) return !isConsonant(word, 0) && isConsonant(word, 1);
  return (
    last > 1 &&
    isConsonant(word, last - 2) &&
    !isConsonant(word, last - 1) &&
    isConsonant(word, last) &&
    !'wxy'.includes(word[last])
  );
}

/** The first rule whose suffix the word has decides: the suffix is replaced if the condition holds, else nothing is. */
function applyRules(word: string, rules: readonly Rule[]): string {
  for (const { suffix, replacement, condition } of rules) {
    if (!word.endsWith(suffix)) continue;
    const stem = word.slice(0, word.length - suffix.length);
    return condition(stem) ? stem + replacement : word;
  }
  return word;
}

function rules(condition: Rule['condition'], pairs: Readonly<Record<string, string>>): Rule[] {
  return Object.entries(pairs).map(([suffix, replacement]) => ({ suffix, replacement, condition }));
}

function plural(word: string): string {
  if (word.endsWith('ies') && word.length === 4) return word.slice(0, -1);
  return applyRules(word, rules(always, { sses: 'ss', ies: 'i', ss: 'ss', s: '' }));
}

function pastAndProgressive(word: string): string {
  if (word.endsWith('ied')) return word.slice(0, -3) + (word.length === 4 ? 'ie' : 'i');
  if (word.endsWith('eed')) return hasMeasure(word.slice(0, -3)) ? word.slice(0, -1) : word;
  const suffix = ['ed', 'ing'].find((end) => word.endsWith(end) && hasVowel(word.slice(0, -end.length)));
  if (suffix === undefined) return word;
  const stem = word.slice(0, -suffix.length);
  if (/(?:at|bl|iz)$/.test(stem)) return `${stem}e`;
  if (endsInDoubleConsonant(stem)) return /[lsz]$/.test(stem) ? stem : stem.slice(0, -1);
  return measure(stem) === 1 && endsInShortSyllable(stem) ? `${stem}e` : stem;
}

/** NLTK: y becomes i after a consonant that is not the first letter. */
const finalY: readonly Rule[] = [
  {
    suffix: 'y',
    replacement: 'i',
    condition: (stem) => stem.length > 1 && isConsonant(stem, stem.length - 1),
  },
];

const doubleSuffixes: readonly Rule[] = [
  ...rules(hasMeasure, {
    ational: 'ate',
    tional: 'tion',
    enci: 'ence',
    anci: 'ance',
    izer: 'ize',
    bli: 'ble',
    alli: 'al',
    entli: 'ent',
    eli: 'e',
    ousli: 'ous',
    ization: 'ize',
    ation: 'ate',
    ator: 'ate',
    alism: 'al',
    iveness: 'ive',
    fulness: 'ful',
    ousness: 'ous',
    aliti: 'al',
    iviti: 'ive',
    biliti: 'ble',
    fulli: 'ful',
  }),
  // The measure counts the l of logi as part of the stem.
  { suffix: 'logi', replacement: 'log', condition: (stem) => hasMeasure(`${stem}l`) },
];

const adjectives = rules(hasMeasure, {
  icate: 'ic',
  ative: '',
  alize: 'al',
  iciti: 'ic',
  ical: 'ic',
  ful: '',
  ness: '',
});

const suffixes: readonly Rule[] = [
  ...rules(hasMeasureAboveOne, {
    al: '',
    ance: '',
    ence: '',
    er: '',
    ic: '',
    able: '',
    ible: '',
    ant: '',
    ement: '',
    ment: '',
    ent: '',
  }),
  { suffix: 'ion', replacement: '', condition: (stem) => hasMeasureAboveOne(stem) && /[st]$/.test(stem) },
  ...rules(hasMeasureAboveOne, { ou: '', ism: '', ate: '', iti: '', ous: '', ive: '', ize: '' }),
];

function doubleSuffix(word: string): string {
  // NLTK: what -alli leaves may itself end in a suffix of this step.
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

/** The steps 1a to 5b of the paper. */
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

/** The stem of a word in lower case. Words of one or two letters are their own. */
export function porterStem(word: string): string {
  if (Object.hasOwn(irregular, word)) return irregular[word];
  if (word.length <= 2) return word;
  return steps.reduce((stem, step) => step(stem), word);
}
