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
    'Times a model or an exported folder. Compared variants take turns, so that a drifting machine slows all alike.\n\ndecode: time of one-token ' +
    'steps, and memory, by context; a model with softmax layers is also measured linearized (augmented). States are filled with random numbers as if ' +
    'the context had been read. The bandwidth share is the bytes of weights a token reads, times tokens per second, over the bandwidth of sequential ' +
    'memory reads, measured in the same run.\n\nprefill: time to read random prompts into an empty state, chunk by chunk.\n\nverify: time of steps ' +
    'over random token trees with the logits of all nodes, as verifying drafts needs them, and of drafting if the folder has Medusa ' +
    "heads.\n\nspeculate: the same prompts token by token, with drafts from the folder's Medusa heads (or its multi-token prediction layer), and with " +
    'drafting that switches itself off (auto). Prompts are stretches of --data, repeated if it is shorter, or of text the model writes. Ratios are ' +
    'medians over neighboring runs. Exit code 1 if a greedy text differs from sequential decoding.',
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
      throw new UsageError(`bench ${what} does not take ${flagName(key)}`);
    }
    await requireOpeningMemory(values.model, { memory: values.memory });
    return await benchmark.run(context, values);
  },
});
