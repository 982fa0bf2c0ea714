/** Reads results and samples of `eval tasks`, or of lm-evaluation-harness itself, from untrusted files. */
import { join } from 'node:path';
import { z } from 'zod';
import { readLines } from '../../../data/files/text-file.ts';
import { LinnetError } from '../../../errors.ts';
import { parseJson } from '../../../files/json-object.ts';
import { validated } from '../../../files/schema-problems.ts';
import { entriesOf, readInFolder } from '../../../files/regular-file.ts';
import type { AnswerValue } from '../metrics/registry.ts';

const maximumResultsBytes = 64 << 20;
/** Longest line in a samples file: a question with its document and examples. */
const maximumLineBytes = 8 << 20;
/** More questions than any benchmark has. */
const mostSamples = 1_000_000;

const numbers = z.record(z.string(), z.union([z.number(), z.string(), z.null()]));

const resultsSchema = z.looseObject({
  results: z.record(z.string(), numbers),
  model_name: z.string().optional(),
  higher_is_better: z.record(z.string(), z.record(z.string(), z.boolean())).default({}),
});

const value = z.union([z.number(), z.tuple([z.number(), z.number()]), z.boolean().transform(Number)]);

const sampleSchema = z.looseObject({
  doc_id: z.int().min(0),
  filter: z.string(),
  metrics: z.array(z.string()),
  doc_hash: z.string(),
  prompt_hash: z.string(),
});

export type Sample = ReturnType<typeof sampleOf>;

export type ModelResults = NonNullable<Awaited<ReturnType<typeof resultsIn>>>;

/**
 * Each model's newest results below a folder: in the folder itself, or in its model folders, as `eval tasks --out` makes
 * them; empty if there are none.
 * @throws LinnetError `FORMAT` naming the file
 */
export async function readResults(folder: string): Promise<ModelResults[]> {
  const here = await resultsIn(folder);
  if (here !== undefined) return [here];
  const below: ModelResults[] = [];
  for (const entry of await sortedEntries(folder)) {
    const inner = entry.isDirectory() ? await resultsIn(join(folder, entry.name)) : undefined;
    if (inner !== undefined) below.push(inner);
  }
  return below;
}

async function sortedEntries(folder: string) {
  return (await entriesOf(folder)).sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function resultsIn(folder: string) {
  const names = (await sortedEntries(folder)).filter((entry) => entry.isFile()).map(({ name }) => name);
  // Names contain the time, so the last one is the newest.
  const name = names.filter((entry) => /^results_.*\.json$/.test(entry)).at(-1);
  if (name === undefined) return undefined;
  const file = join(folder, name);
  const json = parseJson((await readInFolder(folder, name, maximumResultsBytes)).toString(), file);
  const parsed = validated(resultsSchema, json, 'FORMAT', `${file} holds no task results`);
  const { results, model_name: model = folder, higher_is_better: higherIsBetter } = parsed;
  const stamp = /^results_(.*)\.json$/.exec(name)?.[1] ?? '';
  const samples = new Map(
    Object.keys(results)
      .filter((task) => names.includes(`samples_${task}_${stamp}.jsonl`))
      .map((task) => [task, join(folder, `samples_${task}_${stamp}.jsonl`)]),
  );
  // Results by task or group: numbers by `metric,filter`, standard errors by `metric_stderr,filter`.
  return { model, file, results, higherIsBetter, samples };
}

/**
 * A task's samples by filter and row number.
 * @throws LinnetError `FORMAT` naming file and line
 */
export async function readSamples(file: string): Promise<Map<string, Map<number, Sample>>> {
  const filters = new Map<string, Map<number, Sample>>();
  let count = 0;
  for await (const { text, number } of readLines(file, maximumLineBytes)) {
    const source = `${file}:${number}`;
    if (++count > mostSamples) throw new LinnetError('FORMAT', `${source}: more than ${mostSamples} samples`);
    const parsed = validated(sampleSchema, parseJson(text, source), 'FORMAT', `${source} is not a sample of a task`);
    const sample = sampleOf(parsed, source);
    const samples = filters.get(parsed.filter) ?? new Map<number, Sample>();
    filters.set(parsed.filter, samples);
    if (samples.has(sample.docId)) {
      throw new LinnetError('FORMAT', `${source}: question ${sample.docId} appears twice`);
    }
    samples.set(sample.docId, sample);
  }
  return filters;
}

function sampleOf(line: z.output<typeof sampleSchema>, source: string) {
  const fields = new Map(Object.entries(line));
  const values = line.metrics.map((metric): [string, AnswerValue] => {
    const parsed = value.safeParse(fields.get(metric));
    if (parsed.success) return [metric, parsed.data];
    throw new LinnetError(
      'FORMAT',
      `${source}: metric "${metric}" is ${JSON.stringify(fields.get(metric)) ?? 'missing'}`,
    );
  });
  return {
    docId: line.doc_id,
    docHash: line.doc_hash,
    promptHash: line.prompt_hash,
    values: new Map(values),
  };
}
