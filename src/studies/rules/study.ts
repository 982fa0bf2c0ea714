/** Verification rules: whether verified trees give the sequential text, and the results of inexact rules. */
import { documentTokens } from '../../data/documents/document-tokens.ts';
import { readDocuments } from '../../data/documents/documents.ts';
import { z } from 'zod';
import { parseTreeFile } from '../../checkpoint/medusa-trees.ts';
import { readTextFile } from '../../data/files/text-file.ts';
import { MedusaDrafter } from '../../decoding/speculation/drafters/medusa-drafter.ts';
import { LinnetError, requireRunning } from '../../errors.ts';
import type { CausalModel } from '../../models/model.ts';
import { open } from '../../open/index.ts';
import { Random } from '../../random.ts';
import { fixed, formatCount } from '../../report/quantities.ts';
import { makeTable } from '../../report/table.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { studyOf } from '../frame/run-study.ts';
import { resultSection, type StudyReport } from '../frame/study-report.ts';
import { planVersion, trialIdentity } from '../frame/study.ts';
import {
  countMismatches,
  type CompareRulesOptions,
  ruleAgreements,
  type RuleAgreement,
  ruleCount,
} from './verification-rules.ts';
import { filledText, share, whole } from '../../files/schema-values.ts';

const tokens = whole(1, 65_536);

const planSchema = z.strictObject({
  version: planVersion,
  model: filledText.describe('the model folder, exported or not'),
  data: z
    .array(filledText)
    .default([])
    .describe('.txt or .jsonl files whose documents begin the prompts; if empty, prompts are random tokens'),
  prompts: whole(1, 10_000).default(8).describe('number of prompts'),
  promptLength: tokens
    .default(16)
    .describe('longest prompt, BOS included; lengths vary below it to cover all places in a group'),
  maxTokens: tokens.default(256).describe('tokens decoded after each prompt'),
  drafts: z
    .enum(['reference', 'medusa'])
    .default('reference')
    .describe('reference: from the sequential text, by hitRate; medusa: from the heads in the folder'),
  hitRate: share.default(0.6).describe('probability that a rank holds the right token if no better rank does'),
  tree: filledText.optional().describe('JSON of rank paths (default: the tree of the heads, or 64 nodes)'),
  seed: whole(0, 0xffffffff).default(1).describe('seed of drafts and random prompts'),
});

type Plan = z.output<typeof planSchema>;
type Place = Readonly<{ prompt: number }>;

const measuredSchema = z.strictObject({ counts: z.array(ruleCount).readonly() });
type Measured = z.output<typeof measuredSchema>;

interface RulesTrial {
  readonly number: number;
  readonly prompt: readonly number[];
  readonly engine: Parameters<typeof countMismatches>[0];
  readonly options: CompareRulesOptions;
  readonly identity: string;
}

export const rulesStudy = studyOf<Plan, RulesTrial, Place, Measured>({
  name: 'rules',
  description:
    'Decodes prompts greedily token by token, then by verifying token trees, and counts the tokens that differ: under the exact rule, under the ' +
    "paper's rule at group boundaries, and with a convolution that reads the flattened tree as a text or does not mask it. The trees hold the right " +
    'tokens with probability hitRate, so that no drafter is needed and all rules verify the same trees; with drafts "medusa", the folder\'s Medusa ' +
    'heads draft them. Exit code 1 if the exact rule differs anywhere.',
  examples: [
    `linnet study rules --set model=runs/augmented --set 'data=["stories.jsonl"]'`,
    'linnet study rules --set model=runs/augmented --set prompts=20 --set maxTokens=256 --json',
    'linnet study rules --set model=runs/medusa --set drafts=medusa',
  ],
  plan: planSchema,
  measured: measuredSchema,
  async load(plan, { place, model }, compile) {
    const loaded = await open(await model(plan.model), { ...compile, crossesFolds: true });
    const engine = await loaded.engine();
    const medusa = plan.drafts === 'medusa' ? await loaded.heads() : undefined;
    const paths = plan.tree === undefined ? undefined : parseTreeFile(await readTextFile(place(plan.tree)), plan.tree);
    const drafter = medusa && (() => new MedusaDrafter(medusa.heads, paths ?? medusa.tree?.paths));
    const { maxTokens, hitRate, seed, drafts } = plan;
    const options = { tokens: maxTokens, hitRate, seed, paths, makeDrafter: drafter };
    const prompts =
      plan.data.length === 0 ? randomPrompts(loaded.description, plan) : await textPrompts(loaded.origin, plan);
    const trials = prompts.map((prompt, index) => {
      const identity = trialIdentity(loaded.fingerprint, { prompt, tokens: maxTokens, hitRate, seed, paths, drafts });
      return { number: index + 1, prompt, engine, options, identity };
    });
    return {
      trials,
      async [Symbol.asyncDispose]() {
        await medusa?.[Symbol.asyncDispose]();
        await loaded[Symbol.asyncDispose]();
      },
    };
  },
  place: ({ number }) => ({ prompt: number }),
  identity: ({ identity }) => identity,
  async run({ engine, prompt, options }, { signal }) {
    const counts = await countMismatches(engine, prompt, options, () => requireRunning(signal, 'within a prompt'));
    return { counts };
  },
  figures: ({ counts: [exact] }) => ({ mismatches: exact.mismatches }),
  report: (results) => reportRules(results),
});

function reportRules(results: readonly Measured[]): StudyReport {
  const rules = ruleAgreements(results.map(({ counts }) => counts));
  const [exact] = rules;
  const table = makeTable<RuleAgreement>(
    [
      { header: 'verification', value: 'name' },
      { header: 'mismatches', value: 'mismatches', format: formatCount },
      { header: 'per 1,000 tokens', value: 'mismatchesPer1000', format: fixed(1) },
      { header: 'tokens/step', value: 'tokensPerStep', format: fixed(2) },
      { header: 'largest logit error', value: 'maxLogitError', format: (value) => value.toExponential(1) },
    ],
    rules,
  );
  const outcome =
    exact.mismatches === 0
      ? 'Exact verification gave the sequential text, token for token.'
      : `Exact verification differs from the sequential text at ${formatCount(exact.mismatches)} tokens.`;
  const about = `${formatCount(results.length)} prompts, ${formatCount(exact.tokens)} tokens. ${outcome}`;
  return {
    json: { prompts: results.length, rules },
    negative: exact.mismatches > 0,
    title: 'Verification rules',
    subtitle: about,
    sections: [resultSection('Differences', [], table)],
    conclusion: about,
  };
}

/** Lengths from 1 to the longest, evenly spread and ending with it. */
function lengthOf(index: number, { prompts, promptLength }: Plan): number {
  return Math.max(1, Math.round(((index + 1) * promptLength) / prompts));
}

function randomPrompts({ bosId, sizes }: CausalModel, plan: Plan): number[][] {
  const random = new Random(plan.seed);
  return Array.from({ length: plan.prompts }, (_, index) => {
    const tokens = Array.from({ length: lengthOf(index, plan) }, () => random.integer(sizes.vocabulary));
    return bosId === undefined ? tokens : [bosId, ...tokens.slice(1)];
  });
}

/** Beginnings of documents. @throws LinnetError `INPUT` if there are too few documents that hold any text */
async function textPrompts(model: string, plan: Plan): Promise<number[][]> {
  const tokenizer = await loadTokenizer(model);
  const prompts: number[][] = [];
  for await (const document of readDocuments(plan.data)) {
    const tokens = [...documentTokens(tokenizer, document.text)];
    if (tokens.length > 0) prompts.push(tokens.slice(0, lengthOf(prompts.length, plan)));
    if (prompts.length === plan.prompts) return prompts;
  }
  throw new LinnetError(
    'INPUT',
    `${plan.data.join(', ')} has ${prompts.length} documents with text, expected ${plan.prompts} for as many prompts`,
  );
}
