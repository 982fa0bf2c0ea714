/** A benchmark of `linnet bench`, and the options of all. */
import type { z } from 'zod';
import { engineOptions, flag, optional, repeated, settings } from '../../framework/command.ts';
import type { CommandContext, CommandResult } from '../../framework/context.ts';
import { memoryOption } from '../../options/memory-option.ts';
import { called, countList, decimal, integer, text } from '../../framework/option-values.ts';

/** Options of single benchmarks; each benchmark has its own defaults. */
export const measurementOptions = {
  context: optional(
    countList,
    'tokens read before a step (decode, verify), or tokens of a prompt (prefill, speculate); default: usual ones that fit the model',
  ),
  steps: optional(integer(4, 100_000), 'decode: timed steps per context (default: 128)'),
  profile: flag('decode: profile a step at the longest context, in a separate run'),
  runs: optional(integer(1, 1000), 'prefill: timed readings of each prompt (default: 3)'),
  chunk: optional(integer(1, 1024, 'tokens'), 'prefill: tokens per step (default: 128; 64 with delta-rule layers)'),
  nodes: optional(countList, 'verify: nodes of a tree (default: 1,4,16,64)'),
  rounds: optional(integer(1, 1000), 'verify: turns per tree (default: 5); speculate: turns per prompt (default: 3)'),
  data: repeated(called('source', text), 'speculate: .txt or .jsonl file, or npm:PACKAGE; may be repeated'),
  temperature: repeated(decimal(0, 100), 'speculate: sampling temperature; may be repeated (default: 0 and 0.7)'),
  ...settings({
    depth: optional(integer(1, 64, 'nodes'), 'verify: deepest node of a tree (default: 4)'),
    field: optional(called('name', text), 'speculate: field of a .jsonl line that holds the text (default: text)'),
    prompts: optional(integer(1, 1024), 'speculate: prompts per length (default: 3)'),
    tokens: optional(integer(8, 1 << 20), 'speculate: tokens of a continuation (default: 128)'),
  }),
};

export const benchmarkOptions = { ...measurementOptions, memory: memoryOption, ...engineOptions };

export interface Benchmark {
  /** The options that it has; others are refused. */
  readonly takes: readonly (keyof typeof measurementOptions)[];
  /** @param values `model` is the folder */
  run(
    context: CommandContext,
    values: z.output<z.ZodObject<typeof benchmarkOptions>> & { readonly model: string },
  ): Promise<CommandResult>;
}
