/**
 * What a conversion costs a model: `linnet convert`, then perplexity, agreement and recall on unseen text, next to the
 * original's. Each command saves its JSON in a file; a repeated run resumes where it stopped.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { loadDocuments } from '../../src/data/index.ts';
import { writeFileAtomic } from '../../src/files/atomic.ts';
import { fixed } from '../../src/report/quantities.ts';
import type { Column } from '../../src/report/table.ts';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** The JSON of a `linnet` command; `file` holds it after the first run. @throws Error if the command fails */
export async function finished<T>(schema: z.ZodType<T>, file: string, words: readonly string[]): Promise<T> {
  if (!existsSync(file)) {
    const child = spawn(process.execPath, [...process.execArgv, main, ...words, '--json'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
    const printed = await textOf(child.stdout);
    const code = await ended;
    if (code !== 0) throw new Error(`linnet ${words[0]} ended with ${code}; repeat the command to resume`);
    await writeFileAtomic(file, printed.trim().split('\n').at(-1) ?? '');
  }
  return schema.parse(JSON.parse(await readFile(file, 'utf8')));
}

/** Sends every twentieth document to test.jsonl, the others to train.jsonl. @returns both paths */
export async function splitText(sources: readonly string[], out: string): Promise<{ train: string; test: string }> {
  await mkdir(out, { recursive: true });
  const paths = { train: join(out, 'train.jsonl'), test: join(out, 'test.jsonl') };
  if (existsSync(paths.test)) return paths;
  const documents = await loadDocuments(sources);
  const lines = (isTest: boolean): string =>
    documents.flatMap(({ text }, i) => ((i % 20 === 19) === isTest ? [`${JSON.stringify({ text })}\n`] : [])).join('');
  await writeFileAtomic(paths.train, lines(false));
  await writeFileAtomic(paths.test, lines(true));
  return paths;
}

/** Settings of a conversion: optimizer steps per stage or a budget, rows per step, prompts of the comparison. */
export interface ConversionSettings {
  readonly convert: readonly string[];
  readonly prompts: number;
  /** Tokens in a perplexity window and in a training row. */
  readonly length: number;
}

const perplexities = z.object({ models: z.array(z.object({ perplexity: z.number() })) });
const agreement = z.object({
  ...{ greedyLength: z.number(), sameNext: z.number(), kl: z.number() },
  recall: z.array(z.object({ distance: z.number(), original: z.number(), converted: z.number() })),
});

/** One conversion's cost. */
export interface ConversionCost extends Omit<z.output<typeof agreement>, 'recall'> {
  readonly original: number;
  readonly converted: number;
  /** Shares of repeated passages, averaged over the distances. */
  readonly recall: { readonly original: number; readonly converted: number };
}

/** Converts and compares. @param name names the folders in `out` */
export async function conversionCost(
  model: string,
  text: { readonly train: string; readonly test: string },
  { out, name, settings }: { readonly out: string; readonly name: string; readonly settings: ConversionSettings },
): Promise<ConversionCost> {
  const at = join(out, name);
  const converted = `${at}.converted`;
  const length = String(settings.length);
  const resume = existsSync(`${converted}.run`) ? ['--resume'] : [];
  const given = ['--data', text.train, '--length', length, '--contexts', '1024', ...settings.convert];
  await finished(z.unknown(), `${at}.convert.json`, ['convert', model, ...given, '--out', converted, ...resume]);
  const compared = [model, converted, '--data', text.test];
  const words = ['eval', 'perplexity', ...compared, '--mode', 'text', '--length', length];
  const { models } = await finished(perplexities, `${at}.perplexity.json`, words);
  const agree = ['eval', 'agreement', ...compared, '--prompts', String(settings.prompts)];
  const { recall, ...agreed } = await finished(agreement, `${at}.agreement.json`, agree);
  const meanOf = (of: 'original' | 'converted'): number =>
    recall.reduce((sum, row) => sum + row[of], 0) / recall.length;
  return {
    ...{ original: models[0].perplexity, converted: models[1].perplexity, ...agreed },
    recall: { original: meanOf('original'), converted: meanOf('converted') },
  };
}

/** Columns of the cost table. */
export const costColumns: readonly Column<ConversionCost>[] = [
  { header: 'perplexity', value: 'original', format: fixed(3) },
  { header: 'converted', value: 'converted', format: fixed(3) },
  { header: 'loss', unit: '%', value: ({ original, converted }) => 100 * (converted / original - 1), format: fixed(2) },
  { header: 'same next', unit: '%', value: ({ sameNext }) => 100 * sameNext, format: fixed(2) },
  { header: 'KL', unit: 'nats', value: 'kl', format: fixed(4) },
  { header: 'recall', unit: '%', value: ({ recall }) => 100 * recall.original, format: fixed(1) },
  { header: 'converted', unit: '%', value: ({ recall }) => 100 * recall.converted, format: fixed(1) },
];
