/** `linnet eval speculation`: whether verified trees give the sequential text, and what inexact rules would give. */
import { readDocuments } from '../../../data/documents/documents.ts';
import { MedusaDrafter } from '../../../decoding/speculation/drafters/medusa-drafter.ts';
import { LinnetError } from '../../../errors.ts';
import { compareRules, type RuleAgreement } from '../../../studies/verification-rules.ts';
import type { CausalModel } from '../../../models/model.ts';
import { Random } from '../../../random.ts';
import { fixed, formatCount } from '../../../report/quantities.ts';
import type { Column } from '../../../report/table.ts';
import { loadTokenizer } from '../../../tokenizer/tokenizer.ts';
import { defineCommand, engineOptions, optional, repeated, withDefault } from '../../framework/command.ts';
import { folderOf } from '../../options/folder-parameters.ts';
import { readTreeFile } from '../../options/speculation-options.ts';
import { called, choice, decimal, filePath, integer, seed32, text } from '../../framework/option-values.ts';
import { openCausal } from '../../../open/running-model.ts';

const columns: readonly Column<RuleAgreement>[] = [
  { header: 'verification', value: ({ name }) => name },
  { header: 'mismatches', value: ({ mismatches }) => mismatches, format: formatCount },
  { header: 'per 1,000 tokens', value: ({ mismatchesPer1000 }) => mismatchesPer1000, format: fixed(1) },
  { header: 'tokens/step', value: ({ tokensPerStep }) => tokensPerStep, format: fixed(2) },
  {
    header: 'largest logit error',
    value: ({ maxLogitError }) => maxLogitError,
    format: (value) => value.toExponential(1),
  },
];

export const evalSpeculation = defineCommand({
  description:
    'Decodes prompts greedily token by token, then by verifying token trees, and counts the tokens that differ: under ' +
    "the exact rule, under the paper's rule at group boundaries, and with a convolution that takes the flattened tree " +
    'for a text or does not mask it. The trees hold the right tokens as often as --hit-rate says, so that no drafter is ' +
    'needed and all rules verify the same; with --drafts medusa they are those of the Medusa heads in the folder. Exit ' +
    'code 1 if the exact rule differs anywhere.',
  examples: [
    'linnet eval speculation runs/augmented --data stories.jsonl',
    'linnet eval speculation runs/augmented --prompts 20 --max-tokens 256 --json',
    'linnet eval speculation runs/medusa-int4 --data stories.jsonl --drafts medusa',
  ],
  arguments: { model: folderOf('the model, exported or not') },
  options: {
    data: repeated(
      called('source', text),
      '.txt or .jsonl file whose documents begin the prompts (default: random tokens); may be repeated',
    ),
    prompts: withDefault(integer(1, 10_000), 8, 'number of prompts'),
    promptLength: withDefault(
      integer(1, 1 << 16, 'tokens'),
      16,
      'longest prompt, BOS included; lengths vary below it, so that all places in a group are met',
    ),
    maxTokens: withDefault(integer(1, 1 << 16), 256, 'tokens decoded after each prompt'),
    drafts: withDefault(
      choice(['reference', 'medusa'], 'kind'),
      'reference',
      'reference: from the sequential text, by --hit-rate; medusa: from the heads in the folder',
    ),
    hitRate: withDefault(
      decimal(0, 1, 'share'),
      0.6,
      'chance that a rank holds the right token if no better rank does',
    ),
    tree: optional(filePath, 'JSON of rank paths (default: the tree of the heads, or the default tree, 64 nodes)'),
    seed: withDefault(seed32, 1, 'seed of drafts and random prompts'),
    ...engineOptions,
  },
  writesResults: true,
  async run(context, options) {
    const compile = { device: options.device, threads: options.threads };
    await using loaded = await openCausal(options.model, compile);
    await using medusa = options.drafts === 'medusa' ? await loaded.heads() : undefined;
    const paths = await readTreeFile(options.tree);
    const prompts =
      options.data.length === 0
        ? randomPrompts(loaded.model, options)
        : await textPrompts(loaded.path, options.data, options);
    const rows = await context.withProgress('speculation', 'texts', (progress) =>
      compareRules(loaded.engine, prompts, {
        tokens: options.maxTokens,
        hitRate: options.hitRate,
        seed: options.seed,
        signal: context.signal,
        onProgress: (done, total) => progress.update(done, total),
        paths,
        makeDrafter: medusa && (() => new MedusaDrafter(medusa.heads, paths ?? medusa.tree?.paths)),
      }),
    );
    const [exact] = rows;
    context.table(rows, columns);
    context.print(
      `\n${formatCount(prompts.length)} prompts, ${formatCount(exact.tokens)} tokens. ` +
        (exact.mismatches === 0
          ? 'Exact verification gave the sequential text, token for token.'
          : `Exact verification differs from the sequential text at ${formatCount(exact.mismatches)} tokens.`),
    );
    return { json: { prompts: prompts.length, rules: rows }, negative: exact.mismatches > 0 };
  },
});

interface PromptSizes {
  readonly prompts: number;
  readonly promptLength: number;
  readonly seed: number;
}

/** Lengths from 1 to the longest, evenly spread and ending with it. */
function lengthOf(index: number, { prompts, promptLength }: PromptSizes): number {
  return Math.max(1, Math.round(((index + 1) * promptLength) / prompts));
}

function randomPrompts({ bosId, sizes }: CausalModel, options: PromptSizes): number[][] {
  const random = new Random(options.seed);
  return Array.from({ length: options.prompts }, (_, index) => {
    const tokens = Array.from({ length: lengthOf(index, options) }, () => random.integer(sizes.vocabulary));
    return bosId === undefined ? tokens : [bosId, ...tokens.slice(1)];
  });
}

/** Beginnings of documents. @throws LinnetError `INPUT` if there are too few documents that hold any text */
async function textPrompts(model: string, data: readonly string[], options: PromptSizes): Promise<number[][]> {
  const tokenizer = await loadTokenizer(model);
  const prompts: number[][] = [];
  for await (const document of readDocuments(data)) {
    const tokens = [...tokenizer.encode(document.text, { bos: tokenizer.bosId !== undefined })];
    if (tokens.length > 0) prompts.push(tokens.slice(0, lengthOf(prompts.length, options)));
    if (prompts.length === options.prompts) return prompts;
  }
  throw new LinnetError(
    'INPUT',
    `${data.join(', ')} has ${prompts.length} documents with text, ${options.prompts} prompts were asked for`,
  );
}
