/** The speculative chapter of `linnet demo`: the same greedy texts token by token, and by drafts from the text itself. */
import { documentTokens } from '../../../data/documents/document-tokens.ts';
import type { Document } from '../../../data/documents/documents.ts';
import { DecodingEngine } from '../../../decoding/engine.ts';
import { generateToEnd } from '../../../engine/generate.ts';
import type { Generation } from '../../../engine/text-job.ts';
import { type DecodingMethod, sequential } from '../../../decoding/method.ts';
import { LookupDrafter } from '../../../decoding/speculation/drafters/lookup-drafter.ts';
import {
  ObservedDrafter,
  type PathAcceptance,
  sumAcceptance,
} from '../../../decoding/speculation/drafters/observed-drafter.ts';
import { speculative } from '../../../decoding/speculation/speculative.ts';
import { SpeculationStatistics, type SpeculationSummary } from '../../../decoding/speculation/statistics.ts';
import { LinnetError } from '../../../errors.ts';
import type { Tensor } from '../../../graph/tensor.ts';
import type { CausalModel } from '../../../models/model.ts';
import { formatCount, formatFixed } from '../../../report/quantities.ts';
import type { CompileOptions } from '../../../runtime/compile.ts';
import type { Tokenizer } from '../../../tokenizer/tokenizer.ts';

export interface SpeculationStudyOptions {
  readonly prompts: readonly (readonly number[])[];
  /** Tokens decoded after each prompt; EOS does not end a text. */
  readonly maxTokens: number;
  readonly compile?: CompileOptions;
  readonly signal?: AbortSignal;
}

export interface SpeculationStudy extends SpeculationSummary {
  readonly drafter: string;
  readonly texts: number;
  /** Tokens of all texts. */
  readonly tokens: number;
  /** Tokens that differ from those of sequential decoding at the same place. */
  readonly mismatches: number;
  /** Tokens after the first of each text, per second. */
  readonly tokensPerSecond: { readonly sequential: number; readonly speculative: number };
  /** What became of each place in the trees. */
  readonly acceptance: readonly PathAcceptance[];
}

/** Beginnings of held-out documents that are continued, next to the prompt, and how much of each is given. */
const heldOutPrompts = 4;
const promptTokens = 64;
/** UTF-16 units that are sure to hold that many tokens of words. */
const promptCharacters = 16 * promptTokens;

/** The prompt, and the beginnings of held-out documents. */
export function speculationPrompts(heldOut: readonly Document[], tokenizer: Tokenizer, prompt: string): number[][] {
  const openings = heldOut.slice(0, heldOutPrompts).map(({ text }) => text.slice(0, promptCharacters));
  return [prompt, ...openings].map((text) => Array.from(documentTokens(tokenizer, text)).slice(0, promptTokens));
}

/**
 * Continues every prompt greedily, both ways, in turns.
 * @throws LinnetError `ABORTED` when the signal fires
 */
export async function speculationStudy(
  { model, parameters }: { readonly model: CausalModel; readonly parameters: ReadonlyMap<string, Tensor> },
  { prompts, maxTokens, compile, signal }: SpeculationStudyOptions,
): Promise<SpeculationStudy> {
  await using engine = await DecodingEngine.create(model, parameters, compile);
  const decode = async (promptTokens: readonly number[], method: DecodingMethod): Promise<Generation> => {
    const generation = await generateToEnd(engine, { promptTokens, maxTokens, method, ignoreEos: true, signal });
    if (generation.finish === 'abort') throw new LinnetError('ABORTED', 'stopped while decoding by speculation');
    return generation;
  };
  const statistics = new SpeculationStatistics();
  const acceptance: (readonly PathAcceptance[])[] = [];
  const seconds = { sequential: 0, speculative: 0 };
  let [tokens, mismatches, timed, drafterName] = [0, 0, 0, ''];
  // The first run of a graph is slow: one text is decoded and forgotten.
  await decode(prompts[0], sequential);
  await decode(prompts[0], speculative(new LookupDrafter()));
  for (const prompt of prompts) {
    const expected = await decode(prompt, sequential);
    await using drafter = new ObservedDrafter(new LookupDrafter());
    const actual = await decode(prompt, speculative(drafter, { statistics }));
    drafterName = drafter.name;
    seconds.sequential += expected.decodeSeconds;
    seconds.speculative += actual.decodeSeconds;
    tokens += actual.tokens.length;
    timed += actual.tokens.length - 1;
    mismatches += actual.tokens.filter((token, at) => token !== expected.tokens[at]).length;
    acceptance.push(drafter.acceptance);
  }
  const rate = (spent: number): number => (timed === 0 ? 0 : timed / spent);
  return {
    ...statistics.summary,
    drafter: drafterName,
    texts: prompts.length,
    tokens,
    mismatches,
    tokensPerSecond: { sequential: rate(seconds.sequential), speculative: rate(seconds.speculative) },
    acceptance: sumAcceptance(acceptance),
  };
}

/** The result in a line. */
export function describeSpeculationStudy(study: SpeculationStudy): string {
  const { tokens, mismatches, tokensPerStep, tokensPerSecond } = study;
  const agreement =
    mismatches === 0 ? 'the text of one-by-one decoding' : `${formatCount(mismatches)} tokens differ from one-by-one`;
  return (
    `speculation: ${formatFixed(tokensPerStep, 2)} tokens per step over ${formatCount(tokens)} tokens, ${agreement}; ` +
    `${formatFixed(tokensPerSecond.speculative, 0)} tokens/s against ${formatFixed(tokensPerSecond.sequential, 0)}`
  );
}
