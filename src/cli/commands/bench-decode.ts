/** `linnet bench decode`: time per token and memory per session against the context. */
import { mixerPreset } from '../../attention/mixer.ts';
import { loadCausalModel } from '../../checkpoint/load-model.ts';
import {
  type DecodingSpeed,
  decodingSpeed,
  type StepGraphSize,
  stepGraphSize,
} from '../../evaluation/speed/decoding-speed.ts';
import { linearize } from '../../models/linearize.ts';
import { formatBytes, formatCount, formatFixed, formatTokens } from '../../report/quantities.ts';
import { makeTable, textTable } from '../../report/table.ts';
import { defineCommand, engineOptions, optional, required, withDefault } from '../command.ts';
import { countList, integer, path } from '../option-values.ts';

const defaultContexts = [64, 1024, 4096, 16384, 32768];

export const benchDecode = defineCommand({
  description:
    'Times single-token steps of a model as it is and, if that has softmax layers, linearized to the augmented mixer. ' +
    'States are filled with random numbers as if the context had been read. Contexts take turns, so that a machine ' +
    'whose speed drifts treats all alike.',
  examples: [
    'linnet bench decode assets/tiny-llama',
    'linnet bench decode assets/tiny-llama --contexts 64,32768 --steps 256 --json',
  ],
  arguments: { model: required(path, { placeholder: 'folder', description: 'folder of the model' }) },
  options: {
    contexts: optional(countList, {
      placeholder: 'list',
      description: `tokens read before (default: ${defaultContexts.join(',')})`,
    }),
    steps: withDefault(integer({ min: 4, max: 100_000 }), 128, {
      placeholder: 'count',
      description: 'timed steps per context',
    }),
    ...engineOptions,
  },
  async run(context, { model: folder, contexts = defaultContexts, steps, device, threads }) {
    const loaded = await loadCausalModel(folder);
    const compile = { device, threads };
    const subjects = [{ name: 'as it is', model: loaded.model, parameters: loaded.parameters }];
    if (loaded.model.mixers.some((mixer) => mixer.kind === 'softmax')) {
      subjects.push({ name: 'augmented', ...linearize(loaded.model, loaded.parameters, mixerPreset('augmented')) });
    }
    const rows: ({ subject: string } & DecodingSpeed)[] = [];
    const graphs: ({ subject: string } & StepGraphSize)[] = [];
    for (const { name, model, parameters } of subjects) {
      const progress = context.progress(name, 'rounds');
      const speeds = await decodingSpeed(model, parameters, {
        contexts,
        steps,
        compile,
        signal: context.signal,
        onProgress: (done, total) => {
          progress.update(done, total);
        },
      }).finally(() => {
        progress.finish();
      });
      rows.push(...speeds.map((speed) => ({ subject: name, ...speed })));
      graphs.push({ subject: name, ...(await stepGraphSize(model, parameters, compile)) });
    }
    context.print(
      textTable(
        makeTable(
          [
            { header: 'mixers', value: ({ subject }) => subject },
            {
              header: 'context',
              unit: 'tokens',
              value: (row) => row.context,
              format: (value) => formatTokens(value),
            },
            {
              header: 'step',
              unit: 'ms',
              value: ({ timing }) => timing.medianMs,
              format: (value) => formatFixed(value, 3),
            },
            {
              header: 'tokens/s',
              value: ({ tokensPerSecond }) => tokensPerSecond,
              format: (value) => formatFixed(value, 0),
            },
            { header: 'state', value: ({ stateBytes }) => stateBytes, format: (value) => formatBytes(value) },
          ],
          rows,
        ),
      ),
    );
    for (const { subject, nodes, creationMs } of graphs) {
      context.print(
        `step graph, ${subject}: ${formatCount(nodes)} nodes, session created in ${formatFixed(creationMs, 0)} ms`,
      );
    }
    return {
      json: {
        rows: rows.map(({ timing, context: tokens, ...rest }) => ({
          ...rest,
          context: tokens,
          stepMs: timing.medianMs,
          minMs: timing.minMs,
        })),
        graphs,
        peakMemoryBytes: 1024 * process.resourceUsage().maxRSS,
      },
    };
  },
});
