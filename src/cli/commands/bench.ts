/** `linnet bench`: speed of a model on this machine. */
import { defineCommand, required } from '../framework/command.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { choice } from '../framework/option-values.ts';
import { flagName } from '../framework/settings.ts';
import { folderOf } from '../options/model-options.ts';
import { requireOpeningMemory } from '../options/opening-memory.ts';
import { benchmarkOptions, measurementOptions } from './bench/benchmark.ts';
import { decode, prefill, verify } from './bench/model.ts';
import { speculate } from './bench/speculate.ts';

const benchmarks = { decode, prefill, verify, speculate };

export const bench = defineCommand({
  description:
    'Times a model or an exported folder. What is compared takes turns, so that a machine whose speed drifts treats all alike.\n\n' +
    'decode: steps of one token, and memory, against the context; a model with softmax layers is measured linearized (augmented), ' +
    'too. States are filled with random numbers as if the context had been read. The bandwidth share is the bytes of weights that a ' +
    'token reads, times tokens per second, over the bandwidth of reading memory in order, measured in the same run.\n\n' +
    'prefill: reading random prompts into an empty state, chunk by chunk.\n\n' +
    'verify: steps over random token trees with the logits of all nodes, as verification of drafts needs them; with Medusa heads ' +
    'in the folder, the time of a draft, too.\n\n' +
    'speculate: the same prompts token by token, with drafts of the Medusa heads in the folder (or its layer of multi-token prediction), and with drafting that switches ' +
    'itself off (auto). Prompts are stretches of --data, repeated where that is shorter, or of text that the model writes. Ratios ' +
    'are medians over neighbouring runs. The answer is no (exit code 1) if a greedy text differs from that of sequential decoding.',
  examples: [
    'linnet bench decode linnet:tiny-llama',
    'linnet bench decode runs/1.1b-int4 --context 64,1024,131072 --profile --json',
    'linnet bench prefill runs/1.1b-w8a8 --context 1024 --chunk 256',
    'linnet bench verify runs/1.1b-w8a8 --nodes 1,8,16',
    'linnet bench speculate runs/medusa --data stories.jsonl --context 64,1024 --temperature 0',
  ],
  arguments: {
    what: required(choice(['decode', 'prefill', 'verify', 'speculate']), 'decode, prefill, verify or speculate'),
    model: folderOf('the model'),
  },
  options: benchmarkOptions,
  replaced: { '--contexts': '--context' },
  async run(context, { what, ...values }) {
    const benchmark = benchmarks[what];
    for (const [key, value] of Object.entries(values)) {
      const isAbsent = [value].flat().every((each) => each === undefined || each === false);
      if (isAbsent || !(key in measurementOptions) || benchmark.takes.some((option) => option === key)) continue;
      throw new UsageError(`bench ${what} takes no ${flagName(key)}`);
    }
    await requireOpeningMemory(values.model, { memory: values.memory });
    return await benchmark.run(context, values);
  },
});
