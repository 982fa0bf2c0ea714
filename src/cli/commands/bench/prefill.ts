/** `linnet bench prefill`: tokens per second of reading prompts. */
import { promptChunk } from '../../../decoding/step-engine.ts';
import { prefillSpeed } from '../../../evaluation/speed/prefill-speed.ts';
import { fixed, formatBytes, formatTokens } from '../../../report/quantities.ts';
import { peakMemoryBytes } from '../../output/bandwidth.ts';
import { defineCommand, engineOptions, optional, withDefault } from '../../framework/command.ts';
import { contextsWithin } from '../../options/default-contexts.ts';
import { folderOf } from '../../options/folder-parameters.ts';
import { countList, integer } from '../../framework/option-values.ts';
import { openCausal } from '../../../open/running-model.ts';

const defaultContexts = [1024, 4096];

export const benchPrefill = defineCommand({
  description:
    'Times the reading of random prompts into an empty state, chunk by chunk, by a model or an exported folder.',
  examples: [
    'linnet bench prefill runs/1.1b-w8a8',
    'linnet bench prefill runs/1.1b-w8a8 --context 1024 --chunk 256 --json',
  ],
  arguments: { model: folderOf('the model') },
  options: {
    context: optional(
      countList,
      `lengths of prompts (default: ${defaultContexts.join(',')}, or as far as learned positions reach)`,
    ),
    runs: withDefault(integer(1, 1000), 3, 'timed readings of each'),
    chunk: withDefault(integer(1, 1024, 'tokens'), promptChunk, 'tokens per step'),
    ...engineOptions,
  },
  async run(context, { model: folder, context: asked, runs, chunk, device, threads }) {
    await using opened = await openCausal(folder, { device, threads });
    const contexts = asked ?? contextsWithin(defaultContexts, opened.model);
    const speeds = await context.withProgress('reading', 'tokens', (progress) =>
      prefillSpeed(opened.engine, {
        contexts,
        runs,
        chunk,
        signal: context.signal,
        onProgress: (done, total) => progress.update(done, total),
      }),
    );
    const rows = speeds.map(({ context: tokens, timing, tokensPerSecond, stateBytes }) => ({
      context: tokens,
      tokensPerSecond,
      promptMs: timing.medianMs,
      minMs: timing.minMs,
      stateBytes,
      peakMemoryBytes: peakMemoryBytes(),
    }));
    context.table(rows, [
      { header: 'prompt', unit: 'tokens', value: (row) => row.context, format: formatTokens },
      { header: 'time', unit: 'ms', value: (row) => row.promptMs, format: fixed(0) },
      { header: 'tokens/s', value: (row) => row.tokensPerSecond, format: fixed(1) },
      { header: 'state', value: (row) => row.stateBytes, format: formatBytes },
      { header: 'peak memory', value: (row) => row.peakMemoryBytes, format: formatBytes },
    ]);
    return { json: { rows, chunk } };
  },
});
