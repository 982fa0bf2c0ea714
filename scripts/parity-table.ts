/**
 * Runs the golden tests and writes docs/notes/parity.md: for every case the largest error of outputs, losses and
 * gradients, relative to the tensor's largest magnitude. Takes about a minute.
 *
 *     npx tsx scripts/parity-table.ts
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomic } from '../src/files/atomic.ts';
import { makeTable, markdownTable } from '../src/report/table.ts';

const file = 'docs/notes/parity.md';

/** Cases by the prefix of their names: the family, and the source of the numbers. */
const sources: readonly (readonly [prefix: string, family: string, computedBy: string])[] = [
  ['flash_', 'FLASH', "the paper's code"],
  ['hf_llama', 'LLaMA', 'transformers'],
  ['lin_llama', 'LLaMA, augmented', "the paper's code on transformers"],
  ['lora_llama', 'LLaMA with LoRA', 'transformers and PEFT'],
  ['lfm2_', 'LFM2', 'transformers'],
  ['qwen35_', 'Qwen3.5', 'transformers'],
  ['qwen3next_', 'Qwen3-Next', 'transformers'],
  ['olmohybrid_', 'OLMo-Hybrid', 'transformers'],
  ['gemma3_', 'Gemma 3', 'transformers'],
  ['granite4h_', 'Granite 4 H', 'transformers'],
  ['falconh1_', 'Falcon-H1', 'transformers'],
  ['smollm3_', 'SmolLM3', 'transformers'],
  ['hf_gpt2', 'GPT-2', 'transformers'],
  ['lin_gpt2', 'GPT-2, augmented', "the paper's code on transformers"],
  ['hf_t5', 'T5', 'transformers'],
  ['lin_t5', 'T5, augmented', "the paper's code on transformers"],
  ['hf_bert', 'BERT', 'transformers'],
  ['linattn_t5', 'T5 attention', "loops, compared with the paper's code"],
  ['linattn_', 'attention', "loops, compared with the paper's code"],
  ['tree_', 'token trees', "loops, compared with the paper's code"],
  ['adamw_', 'AdamW', 'PyTorch'],
];

const comparisonSchema = z.object({ caseName: z.string(), tensor: z.string(), error: z.number() });
type Comparison = z.infer<typeof comparisonSchema>;

/** Table columns, by tensor name. */
const kinds = {
  loss: (tensor: string) => /(^|[._])loss(64)?$/.test(tensor),
  gradients: (tensor: string) => /(^|\.)(grad\.|dq|dk|dv|dalpha|dconv|dlambda)/.test(tensor),
};

function largest(comparisons: readonly Comparison[], belongs: (tensor: string) => boolean): number | undefined {
  const errors = comparisons.filter(({ tensor }) => belongs(tensor)).map(({ error }) => error);
  return errors.length === 0 ? undefined : Math.max(...errors);
}

const folder = mkdtempSync(join(tmpdir(), 'linnet-parity-'));
try {
  const log = join(folder, 'comparisons.jsonl');
  const { status } = spawnSync(
    'npx',
    ['vitest', 'run', 'test/parity', 'src/attention', 'src/models/families/t5', 'src/training/adamw', 'lora'],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, LINNET_PARITY_LOG: log },
    },
  );
  if (status !== 0) throw new Error('tests failed: the table would be wrong');
  const comparisons = readFileSync(log, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => comparisonSchema.parse(JSON.parse(line)))
    // Outputs of known-wrong code only measure how wrong it is.
    .filter(({ tensor }) => !tensor.includes('original'));
  const byCase = new Map<string, Comparison[]>();
  for (const comparison of comparisons) {
    byCase.set(comparison.caseName, [...(byCase.get(comparison.caseName) ?? []), comparison]);
  }
  const cases = [...byCase];
  const place = (name: string): number => sources.findIndex(([prefix]) => name.startsWith(prefix));
  cases.sort(([a], [b]) => place(a) - place(b) || a.localeCompare(b));
  const error = (value: number): string => value.toExponential(1);
  const table = makeTable(
    [
      { header: 'what', value: ([name]) => sources[place(name)]?.[1] },
      { header: 'case', value: ([name]) => name },
      { header: 'computed by', value: ([name]) => sources[place(name)]?.[2] },
      {
        header: 'outputs',
        value: ([, found]) => largest(found, (tensor) => !kinds.loss(tensor) && !kinds.gradients(tensor)),
        format: error,
        align: 'right',
      },
      { header: 'loss', value: ([, found]) => largest(found, kinds.loss), format: error, align: 'right' },
      { header: 'gradients', value: ([, found]) => largest(found, kinds.gradients), format: error, align: 'right' },
      { header: 'tensors', value: ([, found]) => new Set(found.map(({ tensor }) => tensor)).size },
    ],
    cases,
  );
  await writeFileAtomic(
    file,
    `# Parity\n\nThis table compares every golden case, computed by independent code or by plain float64 loops, with Linnet in float32 (attention\nand trees also with the float64 reference): the largest difference over the tensor's largest magnitude, and how\nmany tensors were compared. Tolerances are 2e-5 for outputs and losses, 2e-4 for gradients; see\n[verify.md](../verify.md). Made by \`npx tsx scripts/parity-table.ts\`, which runs the tests.\n\n${markdownTable(table)}\n`,
  );
  console.log(`wrote ${file}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
