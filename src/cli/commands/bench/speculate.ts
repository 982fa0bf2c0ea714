/** `linnet bench speculate`: sequential against speculative decoding with the tree of the model folder. */
import { preparePrompt } from '../../../engine/prompt.ts';
import { documentTokens } from '../../../data/documents/document-tokens.ts';
import { loadDocuments } from '../../../data/documents/documents.ts';
import { runTogether } from '../../../engine/run-together.ts';
import { contextsWithin } from '../../../evaluation/speed/decoding-speed.ts';
import type { Drafter } from '../../../decoding/speculation/drafters/drafter.ts';
import { medusaDrafters } from '../../../decoding/speculation/drafters/medusa-drafter.ts';
import { MtpDrafter } from '../../../decoding/speculation/drafters/mtp-drafter.ts';
import type { StepEngine } from '../../../decoding/step-engine.ts';
import { LinnetError } from '../../../errors.ts';
import {
  type SpeculationPrompts,
  type SpeculationSpeed,
  speculationSpeed,
} from '../../../evaluation/speed/speculation-speed.ts';
import { fixed, formatPercent, formatRatio, formatTokens, percent } from '../../../report/quantities.ts';
import type { Column } from '../../../report/table.ts';
import type { Benchmark } from './benchmark.ts';
import { open } from '../../../open/index.ts';
import type { LanguageModel } from '../../../open/language-model.ts';

const speculationContexts = [64, 1024, 8192];
const defaultTemperatures = [0, 0.7];
/** Tokens that a model writes if no text is given; longer prompts repeat them. */
const ownWords = 512;

export const speculate: Benchmark = {
  takes: ['data', 'field', 'context', 'temperature', 'prompts', 'tokens', 'rounds'],
  async run(
    context,
    {
      model: folder,
      data,
      field = 'text',
      context: asked,
      temperature,
      prompts = 3,
      tokens = 128,
      rounds = 3,
      device,
      threads,
    },
  ) {
    await using opened = await open(folder, { device, threads });
    const engine = await opened.engine();
    const lengths = asked ?? contextsWithin(speculationContexts, engine.model, tokens);
    await using drafting = await draftingOf(opened);
    const source = data.length > 0 ? await tokensOf(opened, data, field) : await ownText(engine);
    const rows = await context.withProgress('speculation', 'runs', (hooks) =>
      speculationSpeed(engine, drafting.start, {
        contexts: lengths.map((length) => promptsOf(source, length, prompts)),
        temperatures: temperature.length > 0 ? temperature : defaultTemperatures,
        tokens,
        rounds,
        ...hooks,
      }),
    );
    context.print(drafting.description);
    context.table(rows, columns);
    const different = rows.filter(({ identical }) => identical === false);
    if (different.length > 0) {
      const places = different.map((row) => row.context).join(', ');
      context.print(`greedy texts differ from sequential decoding at context ${places}`);
    }
    const json = { ...drafting.json, tokens, rows };
    return { json, negative: different.length > 0 };
  },
};

/** Drafts from a model's Medusa heads or, without heads, from its multi-token prediction layer. */
async function draftingOf(opened: LanguageModel) {
  if (opened.hasMtp && !(await opened.hasHeads())) {
    const engine = await opened.mtp();
    return {
      start: (): Drafter => new MtpDrafter(engine),
      description: 'drafts of the layer of multi-token prediction',
      json: { drafter: 'mtp' },
      [Symbol.asyncDispose]: () => engine.dispose(),
    };
  }
  const medusa = await opened.heads();
  const { heads, tree: stored } = medusa;
  const tree = stored && { method: stored.method, nodes: stored.paths.length + 1 };
  const shape = tree === undefined ? 'trees that grow' : `tree: ${tree.method}, ${tree.nodes} nodes`;
  return {
    start: medusaDrafters(heads, stored?.paths),
    [Symbol.asyncDispose]: () => medusa[Symbol.asyncDispose](),
    description: `${shape}; ${heads.count} heads`,
    json: { tree: tree ?? null, heads: heads.count },
  };
}

async function tokensOf({ tokenizer }: LanguageModel, data: readonly string[], field: string): Promise<Int32Array> {
  const documents = await loadDocuments(data, { field });
  const tokens = Int32Array.from(documents.flatMap(({ text: content }) => [...documentTokens(tokenizer, content)]));
  if (tokens.length === 0) throw new LinnetError('INPUT', 'there is no text in --data');
  return tokens;
}

/** Text that the model samples after BOS at temperature 1. */
async function ownText(engine: StepEngine): Promise<Int32Array> {
  const prompt = preparePrompt({ decoder: engine.model }, { tokens: [] });
  const maxTokens = Math.min(ownWords, engine.model.positions.limit - prompt.tokens.length);
  const job = { prompt, maxTokens, sampling: { temperature: 1 }, ignoreEos: true };
  const [{ tokens }] = await runTogether(engine, [job]);
  return Int32Array.from([...prompt.tokens, ...tokens]);
}

/** Prompts from places spread over the text, wrapping around its end. */
function promptsOf(source: Int32Array, length: number, count: number): SpeculationPrompts {
  const prompts = Array.from({ length: count }, (_, i) => {
    const start = Math.floor((i * source.length) / count);
    return Int32Array.from({ length }, (_unused, at) => source[(start + at) % source.length]);
  });
  return { context: length, prompts };
}

const columns: readonly Column<SpeculationSpeed>[] = [
  { header: 'context', value: 'context', format: formatTokens },
  { header: 'temperature', value: 'temperature' },
  { header: 'sequential', unit: 'tokens/s', value: 'sequential', format: fixed(0) },
  { header: 'speculative', value: 'speculative', format: fixed(0) },
  { header: 'ratio', value: 'ratio', format: formatRatio },
  { header: 'auto', value: 'autoRatio', format: formatRatio },
  { header: 'drafted by auto', value: 'autoSpeculated', format: percent(0) },
  { header: 'tokens/step', value: 'tokensPerStep', format: fixed(2) },
  ...(['draft', 'verify', 'accept', 'commit'] as const).map((part) => ({
    header: part,
    value: ({ timeShares }: SpeculationSpeed) => timeShares[part],
    format: formatPercent,
  })),
  { header: 'same text', value: 'identical' },
];
