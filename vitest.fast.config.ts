/**
 * `npm run test:fast`, while working: less than a minute on two cores. In the list is what runs no training and no command
 * line: the graph engine, readers and writers of files, text, reports, the formulas, one family end to end against
 * reference numbers, and what keeps the package in shape. `npm test` runs everything.
 */
import { defineConfig } from 'vitest/config';
import complete from './vitest.config.ts';

const { projects: _, ...test } = complete.test ?? {};

export default defineConfig({
  test: {
    ...test,
    isolate: false,
    include: [
      'src/{files,graph,runtime,nn,data,tokenizer,report,checkpoint}/**/*.test.ts',
      'src/attention/{masks,reference,tree,state,presets,mixers}.test.ts',
      'src/models/**/config.test.ts',
      'src/decoding/sampler.test.ts',
      'src/quantization/*.test.ts',
      'src/cli/framework/*.test.ts',
      'test/attention/completeness.test.ts',
      'test/package/{imports,install,markdown-commands}.test.ts',
      'test/parity/llama.test.ts',
      'web/**/*.test.ts',
    ],
    exclude: ['src/data/documents/corpora.test.ts', 'src/runtime/worker.test.ts'],
  },
});
