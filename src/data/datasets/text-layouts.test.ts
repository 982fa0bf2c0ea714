/** Tokens around one text and around two, by the kind of the model. */
import { expect, it } from 'vitest';
import { tinyConfig } from '../../../test/models/tiny-model.ts';
import { describeModel } from '../../models/families/index.ts';
import { byteTokenizer } from '../../tokenizer/bytes.ts';
import { layoutOf, layOutText } from './text-layouts.ts';

const tokenizer = { ...byteTokenizer(), clsId: 1, sepId: 2 };
const [a, b] = [97, 98];

it.each([
  ['bert', [1, a, a, 2, b, 2], 4],
  ['distilbert', [1, a, a, 2, b, 2], 4],
  ['roberta', [1, a, a, 2, 2, b, 2], 5],
  ['xlm-roberta', [1, a, a, 2, 2, b, 2], 5],
])('%s reads two texts as it was trained', (family, tokens, pairStart) => {
  const layout = layoutOf(describeModel(tinyConfig(family)));
  expect(layOutText(layout, tokenizer, 'aa', 'b', 20)).toEqual({ tokens: Int32Array.from(tokens), pairStart });
  expect([...layOutText(layout, tokenizer, 'aa', undefined, 20).tokens]).toEqual([1, a, a, 2]);
  const long = layOutText(layout, tokenizer, 'aaaaaaaaa', 'b', tokens.length);
  expect([long.tokens.length, long.omitted]).toEqual([tokens.length, 7]);
});
