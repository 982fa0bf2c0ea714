/** `linnet eval positions --after`: the same tokens at different positions, model by model. */
import { tokensBefore } from '../../../tokenizer/encode-text.ts';
import { readDocuments } from '../../../data/documents/documents.ts';
import { type DepthLoss, sameTokenLosses } from '../../../evaluation/perplexity/same-tokens.ts';
import { fixed, formatBytes, formatCount } from '../../../report/quantities.ts';
import type { CompileOptions } from '../../../runtime/compile.ts';
import { loadTokenizer } from '../../../tokenizer/tokenizer.ts';
import type { CommandContext } from '../../framework/context.ts';
import { joinedTokens } from './joined-text.ts';
import { openCausal } from '../../../open/running-model.ts';

/** Which tokens are read and scored. */
export interface SameTokensText {
  readonly data: readonly string[];
  readonly field: string | undefined;
  /** Tokens of the text, BOS included. */
  readonly length: number;
  readonly after: readonly number[];
  readonly scored: number;
}

export interface ModelDepths {
  readonly model: string;
  readonly depths: readonly DepthLoss[];
}

/** Measures every model, prints a table and returns its rows. @throws as `sameTokenLosses` */
export async function printSameTokens(
  context: CommandContext,
  models: readonly string[],
  { data, field, length, after, scored }: SameTokensText,
  compile: CompileOptions,
): Promise<ModelDepths[]> {
  const results: ModelDepths[] = [];
  for (const folder of models) {
    const { begin, tokens } = await textOf(folder, data, field, length);
    await using opened = await openCausal(folder, compile);
    const depths = await context.withProgress(folder, 'tokens', (progress) =>
      sameTokenLosses(opened.engine, tokens, {
        ...{ after, scored, begin, signal: context.signal },
        onProgress: (done, total) => {
          if (done % 128 === 0 || done === total) progress.update(done, total);
        },
      }),
    );
    results.push({ model: folder, depths });
  }
  const rows = results.flatMap(({ model, depths }) => depths.map((depth) => ({ model, ...depth })));
  context.table(rows, [
    { header: 'model', value: ({ model }) => model },
    { header: 'after', value: (row) => row.after, format: formatCount, align: 'right' },
    { header: 'perplexity', value: (row) => row.perplexity, format: fixed(3) },
    { header: 'of the first', value: (row) => row.ratio, format: fixed(4) },
    { header: '±', value: (row) => row.ratioError, format: fixed(4) },
    { header: 'state', value: (row) => row.stateBytes, format: formatBytes },
  ]);
  return results;
}

/** The text, and apart from it the tokens that begin it. */
async function textOf(folder: string, data: readonly string[], field: string | undefined, length: number) {
  const tokenizer = await loadTokenizer(folder);
  const tokens = await joinedTokens(readDocuments(data, { field }), tokenizer, length);
  const begin = tokensBefore(tokenizer);
  return { begin, tokens: tokens.subarray(begin.length) };
}
