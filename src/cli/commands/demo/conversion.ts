/** The first part of `linnet demo`: the model is converted within a short time, and keeps its quality. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LoadedModel } from '../../../checkpoint/load-model.ts';
import { type Conversion, convert } from '../../../conversion/convert.ts';
import { type ConversionMeasures, measureConversion } from '../../../conversion/measure.ts';
import { type ConversionCharts, conversionCharts } from '../../../conversion/report.ts';
import { conversionTexts } from '../../../conversion/texts.ts';
import { loadDocuments } from '../../../data/documents/documents.ts';
import { formatFixed, signedPercent } from '../../../report/quantities.ts';
import type { Tokenizer } from '../../../tokenizer/tokenizer.ts';
import type { CommandContext } from '../../framework/context.ts';
import { conversionPrinter } from '../../output/conversion-events.ts';
import type { DemoOptions } from './study.ts';

/** A conversion with everything that the report shows of it. */
export interface DemoConversion {
  readonly conversion: Conversion;
  readonly measures: ConversionMeasures;
  readonly charts: ConversionCharts;
}

/** Documents that are reported on, and as many that judge. */
const heldOut = 12;

/** Converts a model in a temporary folder, which is removed. */
export async function demoConversion(
  context: CommandContext,
  original: LoadedModel,
  tokenizer: Tokenizer,
  { data, budget, contexts, prompt, seed, threads }: DemoOptions,
): Promise<DemoConversion> {
  const { signal } = context;
  const compile = { threads };
  const documents = await loadDocuments([data]);
  const texts = await conversionTexts(documents, tokenizer, {
    heldOut: documents.length > 3 * heldOut ? heldOut : undefined,
    length: original.model.sizes.trainedLength,
  });
  const folder = await mkdtemp(join(tmpdir(), 'linnet-demo-'));
  try {
    const conversion = await convert(original, tokenizer, texts, {
      ...{ budget, keep: { layers: [] }, seed, folder, compile, signal, onEvent: conversionPrinter(context) },
    });
    const measures = await context.withProgress('measure', 'parts', (progress) => {
      let done = 0;
      return measureConversion(original, conversion, tokenizer, texts, {
        ...{ contexts, prompts: [prompt], seed, compile, signal },
        onProgress: (what) => progress.update(done++, 6, what),
      });
    });
    const { original: before, converted } = measures.perplexity;
    context.print(
      `converted: perplexity ${formatFixed(before, 2)} → ${formatFixed(converted, 2)} (${signedPercent(converted / before - 1)}) on test text\n`,
    );
    return { conversion, measures, charts: await conversionCharts(conversion, measures) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
