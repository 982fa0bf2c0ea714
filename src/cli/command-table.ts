/** The table of commands. Loads a command only when named, so that `linnet --help` stays fast. */
import { studyTable } from '../studies/registry.ts';
import type { CliCommand } from './framework/command.ts';

type Load = () => Promise<CliCommand>;

/** Commands by their words, `inspect`, or group and command, `eval perplexity`: a short summary and the loader. */
export type CommandTable = Readonly<Record<string, { readonly summary: string; readonly load: Load }>>;

export const commandGroups: Readonly<Record<string, string>> = {
  eval: 'measure how well a model predicts',
  study: 'measure a method by a plan of trials, resumable',
  medusa: 'draft heads for speculative decoding',
  tokenizer: 'make tokenizers',
};

/** Commands of the previous version, with their replacements. */
export const movedCommands: Readonly<Record<string, string>> = {
  sweep: '`linnet study sweep --plan FILE`',
  'study classification': '`linnet study sweep --plan FILE`',
  'medusa tree': '`linnet generate --speculate medusa` grows trees as it writes',
  'eval compare': '`linnet eval tasks RESULTS RESULTS`',
  'bench gemm': '`bench/training/products.ts` of a checkout',
  'bench train': '`bench/training/step.ts` of a checkout',
};

const summaries = {
  inspect: "show a model's sizes, mixers and memory",
  download: 'fetch a model from the Hugging Face hub',
  synth: 'write a model of a published size with random weights',
  convert: 'linearize a softmax model, keep its quality and write a report',
  linearize: "replace a model's attention with another mixer",
  export: 'write a model as ONNX, with weights in fewer bits',
  generate: 'continue a text, from a prompt or a saved session',
  classify: 'classify a text, a pair of texts, or all texts in a file',
  chat: 'chat with a model in the terminal',
  serve: 'answer clients of the OpenAI API, many at a time',
  check: 'check that a model reads no future and decodes as it was trained',
  pretrain: 'train a model from random weights',
  finetune: 'train a model further on text',
  distill: "teach a converted model's mixers to imitate softmax attention",
  merge: 'merge a low-rank adapter into its base model',
  'medusa train': 'train draft heads for a model',
  'eval perplexity': "measure a model's perplexity on text",
  'eval agreement': "compare a converted model's text with its original's",
  'eval positions': 'measure perplexity by position, far beyond the trained length',
  'eval accuracy': 'measure a classifier on labeled texts',
  'eval tasks': "run benchmarks with lm-evaluation-harness's prompts and metrics, for several models side by side",
  'eval rouge': 'score predicted summaries against references',
  'study sweep': 'compare methods × models × seeds after the same training, by perplexity or as classifiers',
  'study matrix': 'run every mixer in every family to find which ones work',
  'study recall': 'measure associative recall against state size, for trained mixers or models',
  'study needle': 'measure what models find in a long text, by length and depth',
  'study rules': 'compare token trees with sequential decoding, by exact and inexact rules',
  'study leak': 'train with a convolution that reads the future',
  work: 'take trials and tasks from a queue, on any number of machines',
  runs: 'list runs, or follow them on a page',
  bench: 'measure speed on this machine: steps, prompts, token trees, speculation',
  clean: 'list and remove files that killed commands left half written',
  'tokenizer train': 'train a byte-level BPE tokenizer on text',
};

function studyLoader(name: string): Load {
  return async () => (await import('./commands/study.ts')).studyCommand(await studyTable[name]());
}

const loaders: Readonly<Record<string, Load>> = {
  inspect: async () => (await import('./commands/inspect.ts')).inspect,
  download: async () => (await import('./commands/download.ts')).download,
  synth: async () => (await import('./commands/synth.ts')).synth,
  convert: async () => (await import('./commands/convert.ts')).convertCommand,
  linearize: async () => (await import('./commands/linearize.ts')).linearizeCommand,
  export: async () => (await import('./commands/export.ts')).exportCommand,
  generate: async () => (await import('./commands/generate.ts')).generateCommand,
  classify: async () => (await import('./commands/classify.ts')).classify,
  chat: async () => (await import('./commands/chat.ts')).chatCommand,
  serve: async () => (await import('./commands/serve.ts')).serveCommand,
  check: async () => (await import('./commands/check.ts')).check,
  pretrain: async () => (await import('./commands/pretrain.ts')).pretrainCommand,
  finetune: async () => (await import('./commands/finetune.ts')).finetuneCommand,
  distill: async () => (await import('./commands/distill.ts')).distillCommand,
  merge: async () => (await import('./commands/merge.ts')).merge,
  'medusa train': async () => (await import('./commands/medusa/train.ts')).medusaTrain,
  'eval perplexity': async () => (await import('./commands/eval/perplexity.ts')).evalPerplexity,
  'eval agreement': async () => (await import('./commands/eval/agreement.ts')).evalAgreement,
  'eval positions': async () => (await import('./commands/eval/positions.ts')).evalPositions,
  'eval accuracy': async () => (await import('./commands/eval/accuracy.ts')).evalAccuracy,
  'eval tasks': async () => (await import('./commands/eval/tasks.ts')).evalTasks,
  'eval rouge': async () => (await import('./commands/eval/rouge.ts')).evalRouge,
  'study sweep': studyLoader('sweep'),
  'study matrix': studyLoader('matrix'),
  'study recall': studyLoader('recall'),
  'study needle': studyLoader('needle'),
  'study rules': studyLoader('rules'),
  'study leak': studyLoader('leak'),
  work: async () => (await import('./commands/work.ts')).work,
  runs: async () => (await import('./commands/runs.ts')).runsCommand,
  bench: async () => (await import('./commands/bench.ts')).bench,
  clean: async () => (await import('./commands/clean.ts')).clean,
  'tokenizer train': async () => (await import('./commands/tokenizer/train.ts')).tokenizerTrain,
} satisfies Record<keyof typeof summaries, Load>;

export const commandTable: CommandTable = Object.fromEntries(
  Object.entries(summaries).map(([name, summary]) => [name, { summary, load: loaders[name] }]),
);
