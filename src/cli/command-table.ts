/** The table of commands. A command is loaded when it is named, so that `linnet --help` stays quick. */
import { studyTable } from '../studies/registry.ts';
import type { CliCommand } from './framework/command.ts';

/** Commands by their words, `inspect`, or group and command, `eval perplexity`: a short summary and the loader. */
export type CommandTable = Readonly<
  Record<string, { readonly summary: string; readonly load: () => Promise<CliCommand> }>
>;

export const commandGroups: Readonly<Record<string, string>> = {
  eval: 'measure how well a model predicts',
  study: 'measure a method by a plan of trials, resumable',
  medusa: 'draft heads for speculative decoding',
  bench: 'measure speed on this machine',
  tokenizer: 'make tokenizers',
};

/** Commands of the version before under other words, and where their work is done now. */
export const movedCommands: Readonly<Record<string, string>> = {
  sweep:
    '`linnet study sweep --plan FILE`; plans of the kind "classification": `linnet study classification --plan FILE`',
};

export const commandTable: CommandTable = {
  inspect: {
    summary: 'sizes, mixers and memory of a model',
    load: async () => (await import('./commands/inspect.ts')).inspect,
  },
  download: {
    summary: 'fetch a model from the Hugging Face hub',
    load: async () => (await import('./commands/download.ts')).download,
  },
  synth: {
    summary: 'write a model of a published size with random weights',
    load: async () => (await import('./commands/synth.ts')).synth,
  },
  convert: {
    summary: 'linearize a softmax model and keep its quality; writes a report',
    load: async () => (await import('./commands/convert.ts')).convertCommand,
  },
  linearize: {
    summary: "replace a model's attention by another mixer",
    load: async () => (await import('./commands/linearize.ts')).linearizeCommand,
  },
  export: {
    summary: 'write a model as ONNX, with weights in fewer bits',
    load: async () => (await import('./commands/export.ts')).exportCommand,
  },
  generate: {
    summary: 'continue a text, from a prompt or a saved session',
    load: async () => (await import('./commands/generate.ts')).generateCommand,
  },
  classify: {
    summary: 'the class of a text, of two, or of all texts of a file',
    load: async () => (await import('./commands/classify.ts')).classify,
  },
  chat: {
    summary: 'a conversation in the terminal',
    load: async () => (await import('./commands/chat.ts')).chatCommand,
  },
  serve: {
    summary: 'answer clients of the OpenAI API, many at a time',
    load: async () => (await import('./commands/serve.ts')).serveCommand,
  },
  check: {
    summary: 'prove that a model reads no future and decodes what was trained',
    load: async () => (await import('./commands/check.ts')).check,
  },
  pretrain: {
    summary: 'train a model from random weights',
    load: async () => (await import('./commands/pretrain.ts')).pretrainCommand,
  },
  finetune: {
    summary: 'train a model further on text',
    load: async () => (await import('./commands/finetune.ts')).finetuneCommand,
  },
  distill: {
    summary: "teach a converted model's mixers what softmax attention did",
    load: async () => (await import('./commands/distill.ts')).distillCommand,
  },
  merge: {
    summary: 'add a low-rank adapter to the model it was trained for',
    load: async () => (await import('./commands/merge.ts')).merge,
  },
  'medusa train': {
    summary: 'train draft heads for a model',
    load: async () => (await import('./commands/medusa/train.ts')).medusaTrain,
  },
  'medusa tree': {
    summary: 'find the candidate tree that suits heads, text and machine',
    load: async () => (await import('./commands/medusa/tree.ts')).medusaTree,
  },
  'eval perplexity': {
    summary: 'perplexity of a model on a text',
    load: async () => (await import('./commands/eval/perplexity.ts')).evalPerplexity,
  },
  'eval agreement': {
    summary: 'whether a converted model writes as its original does',
    load: async () => (await import('./commands/eval/agreement.ts')).evalAgreement,
  },
  'eval positions': {
    summary: 'perplexity by position, far beyond the length of training',
    load: async () => (await import('./commands/eval/positions.ts')).evalPositions,
  },
  'eval accuracy': {
    summary: 'how often a classifier is right on labelled texts',
    load: async () => (await import('./commands/eval/accuracy.ts')).evalAccuracy,
  },
  'eval tasks': {
    summary: 'benchmarks, with the prompts and numbers of lm-evaluation-harness',
    load: async () => (await import('./commands/eval/tasks.ts')).evalTasks,
  },
  'eval compare': {
    summary: 'results of tasks side by side, and the questions that changed',
    load: async () => (await import('./commands/eval/compare.ts')).evalCompare,
  },
  'eval rouge': {
    summary: 'predicted summaries against references',
    load: async () => (await import('./commands/eval/rouge.ts')).evalRouge,
  },
  'eval mt-bench': {
    summary: 'how fast questions of several turns are answered, with drafts and without',
    load: async () => (await import('./commands/eval/mt-bench.ts')).evalMtBench,
  },
  ...Object.fromEntries(
    Object.entries(studyTable).map(([name, { summary, load }]) => [
      `study ${name}`,
      { summary, load: async () => (await import('./commands/study.ts')).studyCommand(await load()) },
    ]),
  ),
  work: {
    summary: 'take trials and tasks from a queue, on as many machines as there are',
    load: async () => (await import('./commands/work.ts')).work,
  },
  runs: {
    summary: 'list what was trained, or follow it on a page',
    load: async () => (await import('./commands/runs.ts')).runsCommand,
  },
  'bench gemm': {
    summary: 'matrix products through the runtime',
    load: async () => (await import('./commands/bench/gemm.ts')).benchGemm,
  },
  'bench train': {
    summary: 'a training step against the peak matrix-multiplication throughput',
    load: async () => (await import('./commands/bench/train.ts')).benchTrain,
  },
  'bench decode': {
    summary: 'time per token and memory against the context',
    load: async () => (await import('./commands/bench/model.ts')).benchDecode,
  },
  'bench prefill': {
    summary: 'reading prompts of several lengths',
    load: async () => (await import('./commands/bench/model.ts')).benchPrefill,
  },
  'bench verify': {
    summary: 'steps over token trees of several sizes',
    load: async () => (await import('./commands/bench/model.ts')).benchVerify,
  },
  'bench speculate': {
    summary: 'speculative decoding against sequential decoding',
    load: async () => (await import('./commands/bench/speculate.ts')).benchSpeculate,
  },
  clean: {
    summary: 'list and remove what killed commands left half written',
    load: async () => (await import('./commands/clean.ts')).clean,
  },
  'tokenizer train': {
    summary: 'train a byte-level BPE tokenizer on text',
    load: async () => (await import('./commands/tokenizer/train.ts')).tokenizerTrain,
  },
};
