/** `linnet matrix`: which mixer works in which family, found by running all of them. */
import { writeFileAtomic } from '../../files/atomic.ts';
import { supportProbes } from '../../studies/support/probes.ts';
import { supportMatrix, supportMixers } from '../../studies/support/matrix.ts';
import { commandLine } from '../../report/command-line.ts';
import { writeReport } from '../../report/html.ts';
import { textTable } from '../../report/table.ts';
import { defineCommand, engineOptions, optional, repeated, withDefault } from '../framework/command.ts';
import { called, choice, filePath, integer } from '../framework/option-values.ts';
import { supportPage, supportReport, supportTable } from '../output/support-page.ts';

const families = [...new Set(supportProbes.map(({ family }) => family))];

export const matrix = defineCommand({
  description:
    'Runs every mixer, with and without the masked convolution, in a tiny random model of every family and direction: forwards ' +
    '(a padded row must have the logits of the row alone), backwards (gradients against finite differences) and, where the ' +
    'attention is causal, decoding (steps and trees against the parallel form). Prints what works; "–" is what cannot exist.',
  examples: [
    'linnet matrix',
    'linnet matrix --family llama --mixer augmented --json',
    'linnet matrix --markdown docs/reference/support.md',
    'linnet matrix --report matrix.html',
  ],
  arguments: {},
  options: {
    family: repeated(choice(families), `one of ${families.join(', ')} (default: all)`),
    mixer: repeated(choice(supportMixers()), `one of ${supportMixers().join(', ')} (default: all)`),
    markdown: optional(filePath, 'writes a page of Markdown too'),
    report: optional(filePath, 'writes a page of HTML too, whose tables can be sorted'),
    seed: withDefault(called('number', integer(0)), 1, 'of weights and texts'),
    ...engineOptions,
  },
  writes: ['markdown', 'report'],
  async run(context, { family, mixer, markdown, report, seed, device, threads }) {
    const rows = await context.withProgress('matrix', 'cells', (progress) =>
      supportMatrix({
        families: family.length === 0 ? undefined : family,
        mixers: mixer.length === 0 ? undefined : mixer,
        seed,
        compile: { device, threads },
        signal: context.signal,
        onRow: (row, done, total) => progress.update(done, total, `${row.family}, ${row.mixer}`),
      }),
    );
    context.print(textTable(supportTable(rows)));
    if (markdown !== undefined) await writeFileAtomic(markdown, supportPage(rows));
    if (report !== undefined) await writeReport(report, supportReport(rows, commandLine(context.command)));
    const failed = rows.filter((row) => [row.forward, row.backward, row.decode].includes(false));
    for (const { family: name, mixer: of, note } of failed) context.print(`${name}, ${of}: ${note ?? 'failed'}`);
    return { json: { rows }, negative: failed.length > 0 };
  },
});
