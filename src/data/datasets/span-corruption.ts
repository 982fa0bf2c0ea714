/**
 * Span corruption (T5, arXiv 1910.10683, section 3.1.4): cuts out 15 % of the tokens, in spans of 3 on average. The source
 * has a sentinel for each span; the target is each sentinel followed by its span.
 */
import { range, sort } from 'd3-array';
import type { Random } from '../../random.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';

const noiseShare = 0.15;
const meanSpan = 3;
/** Sentinels in T5's vocabularies. */
const mostSentinels = 100;

function spanCounts(tokens: number): { noise: number; spans: number } {
  const noise = Math.min(Math.max(Math.round(tokens * noiseShare), 1), tokens - 1);
  const spans = Math.min(Math.max(Math.round(noise / meanSpan), 1), noise, tokens - noise);
  return { noise, spans };
}

/**
 * How many text tokens fill a source of at most `length` tokens, and the resulting source and target lengths.
 * @param length at least 4
 */
export function corruptedLength(
  length: number,
  hasEnd: boolean,
): { rowTokens: number; source: number; target: number; spans: number } {
  const end = hasEnd ? 1 : 0;
  const sourceOf = (tokens: number): number => {
    const { noise, spans } = spanCounts(tokens);
    return tokens - noise + spans + end;
  };
  let rowTokens = 2;
  while (sourceOf(rowTokens + 1) <= length) rowTokens++;
  const { noise, spans } = spanCounts(rowTokens);
  return { rowTokens, source: sourceOf(rowTokens), target: noise + spans + end, spans };
}

/** Cuts spans out of tokens; `corruptedLength` gives their counts, their places are drawn. */
export function corruptSpans(
  tokens: Int32Array,
  sentinels: readonly number[],
  random: Random,
): { source: number[]; target: number[] } {
  const { noise, spans } = spanCounts(tokens.length);
  const kept = randomParts(tokens.length - noise, spans, random);
  const cut = randomParts(noise, spans, random);
  const source: number[] = [];
  const target: number[] = [];
  let place = 0;
  for (let span = 0; span < spans; span++) {
    for (const token of tokens.subarray(place, place + kept[span])) source.push(token);
    source.push(sentinels[span]);
    place += kept[span];
    target.push(sentinels[span]);
    for (const token of tokens.subarray(place, place + cut[span])) target.push(token);
    place += cut[span];
  }
  return { source, target };
}

/** `count` positive lengths that sum to `total`, every split equally probable. */
function randomParts(total: number, count: number, random: Random): number[] {
  const places = random.shuffle(range(1, total)).slice(0, count - 1);
  const edges = [0, ...sort(places), total];
  return Array.from({ length: count }, (_, part) => edges[part + 1] - edges[part]);
}

/**
 * A tokenizer's sentinels: its tokens <extra_id_0>, <extra_id_1>, …; if it has none, the model's last vocabulary ids, from
 * the end, where T5 has them.
 */
export function sentinelIds({ specialNames }: Pick<Tokenizer, 'specialNames'>, vocabulary: number): number[] {
  const named: number[] = [];
  for (let i = 0; i < mostSentinels; i++) {
    const id = specialNames?.get(`<extra_id_${i}>`);
    if (id === undefined) break;
    named.push(id);
  }
  if (named.length > 0) return named;
  return Array.from({ length: Math.min(mostSentinels, Math.floor(vocabulary / 2)) }, (_, i) => vocabulary - 1 - i);
}
