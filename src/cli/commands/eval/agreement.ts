/** `linnet eval agreement`: whether a converted model keeps writing like its original. */
import { openCausalWeights } from '../../../checkpoint/load-model.ts';
import { type AnyParameter, segmentWeights } from '../../../checkpoint/stored-parameter.ts';
import { readDocuments } from '../../../data/documents/documents.ts';
import {
  type Agreement,
  agreementByPosition,
  type AgreementOptions,
  fartherProbability,
  greedyTexts,
  meanAgreement,
  requireSameVocabulary,
  samplePrompts,
  type TextAgreement,
  textAgreement,
} from '../../../evaluation/agreement/agreement.ts';
import {
  comparedAnswers,
  type RecallAnswer,
  recallByDistance,
  recalledAnswers,
} from '../../../evaluation/agreement/recalled-answers.ts';
import { agreementMemory, weightAgreement, weightRecall } from '../../../evaluation/agreement/weight-agreement.ts';
import { evaluationData } from '../../../evaluation/perplexity/scored-windows.ts';
import { recallProbes } from '../../../evaluation/recall/copy-recall.ts';
import type { StepEngine } from '../../../decoding/step-engine.ts';
import { isExport } from '../../../open/folder-files.ts';
import { open } from '../../../open/index.ts';
import { fixed, formatCount, formatFixed } from '../../../report/quantities.ts';
import type { Column } from '../../../report/table.ts';
import { tokensBefore } from '../../../tokenizer/encode-text.ts';
import type { Tokenizer } from '../../../tokenizer/tokenizer.ts';
import {
  defineCommand,
  engineOptions,
  optional,
  requiredList,
  withDefault,
  settings,
} from '../../framework/command.ts';
import { UsageError } from '../../framework/exit-codes.ts';
import { called, countList, integer } from '../../framework/option-values.ts';
import { formOptions } from '../../options/memory-option.ts';
import { modelFolder } from '../../options/model-options.ts';
import { openingMemory } from '../../options/opening-memory.ts';
import { chooseForm, memoryAfterEngine, type MemoryForm } from '../../../training/memory-form.ts';
import { transferParameters } from '../../../training/objectives/distillation.ts';
import { processBytes } from '../../../training/step-cost.ts';
import { reportForms } from '../../output/training-report.ts';
import { documentSources, fieldOption } from '../../options/text-options.ts';

const passage = 16;
/** The type of matrices where the original writes that is compared layer by layer. */
const writingType = 'int4';

const agreementColumns: readonly Column<Pick<Agreement, 'sameNext' | 'kl'>>[] = [
  { header: 'same next', unit: '%', value: (row) => 100 * row.sameNext, format: fixed(2) },
  { header: 'KL', unit: 'nats', value: 'kl', format: fixed(5) },
];

export const evalAgreement = defineCommand({
  description:
    'Compares converted models with their original on text the original writes: it continues prompts from the data greedily, all models read these ' +
    "continuations, and their predictions are compared position by position. Recall is the share of a passage's tokens that are predicted when it " +
    'returns after other text. For the first converted model, p is the chance of its KL if the true KL is at most 0.001 nats; for the others, if it is ' +
    "at most the first one's.",
  examples: [
    'linnet eval agreement models/stories runs/converted --data stories.jsonl --json',
    'linnet eval agreement models/stories runs/converted runs/without-memory --data book.txt --prompts 100',
  ],
  arguments: {
    models: requiredList(called('folders', modelFolder), 'the original, then converted models; exported or not'),
  },
  options: {
    data: documentSources,
    prompts: withDefault(integer(1, 1 << 16), 200, 'prompts, taken at random from the text'),
    length: withDefault(integer(1, 1 << 20, 'tokens'), 256, 'tokens of a prompt'),
    tokens: withDefault(integer(1, 1 << 16), 64, 'tokens of a continuation'),
    ...formOptions,
    ...engineOptions,
    ...settings({
      field: fieldOption,
      distances: optional(called('counts', countList), 'tokens between a passage and its return (default: 16,64,256)'),
      seed: withDefault(integer(0), 0, 'seed of the choice of prompts'),
    }),
  },
  writesResults: true,
  async run(
    context,
    {
      models,
      data,
      field,
      prompts: count,
      length,
      tokens,
      distances = [16, 64, 256],
      seed,
      memory,
      plan: onlyPlan,
      ...compile
    },
  ) {
    const [folder, ...others] = models;
    if (others.length === 0) throw new UsageError('give the original and at least one converted model');
    const read = Math.max(length + tokens, ...distances.map((distance) => distance + 2 * passage));
    const bytes = await comparisonMemory(folder, others, { count, length: read });
    const plan = chooseForm('the comparison of two models', bytes, memory, ['exports of fewer bits']);
    if (onlyPlan) return reportForms(context, [{ name: 'agreement', ...plan }], memory);
    const watch = <T>(label: string, work: (options: AgreementOptions) => Promise<T>): Promise<T> =>
      context.withProgress(label, 'texts', (hooks) => work(hooks));
    const rows: ComparedModel[] = [];
    let first: readonly TextAgreement[] | undefined;
    const add = (other: string, agreements: readonly TextAgreement[], ...answers: readonly RecallAnswer[][]): void => {
      rows.push(compared(other, agreements, first, answers[0], answers[1]));
      first ??= agreements;
    };
    const start = async (engine: StepEngine, tokenizer: Tokenizer) => {
      const stride = { mode: 'text' as const, length, stride: length };
      const { windows } = await evaluationData(readDocuments(data, { field }), tokenizer, stride);
      for (const other of others) await requireVocabulary(engine, other);
      const whole = windows.filter(({ tokens: part }) => part.length === length);
      const prompts = samplePrompts(whole.length < count ? windows : whole, count, seed);
      const text = Int32Array.from(windows.flatMap(({ tokens: part }) => [...part]));
      const possible = distances.filter((distance) => text.length >= distance + passage);
      const probes = recallProbes(text, { distances: possible, passage }, tokensBefore(tokenizer));
      return { probes, texts: await watch('writing', (options) => greedyTexts(engine, prompts, tokens, options)) };
    };
    const byEngines = async () => {
      await using original = await open(folder, compile);
      const engine = await original.engine();
      const started = await start(engine, original.tokenizer);
      const { probes, texts } = started;
      const answers = await recalledAnswers(engine, probes, context.signal);
      for (const other of others) {
        await using opened = await open(other, compile);
        const otherEngine = await opened.engine();
        const agreements = await watch(other, (options) => textAgreement(engine, otherEngine, texts, options));
        add(other, agreements, answers, await recalledAnswers(otherEngine, probes, context.signal));
      }
      return started;
    };
    const written = async () => {
      await using original = await open(folder, { ...compile, dtype: writingType });
      return await start(await original.engine(), original.tokenizer);
    };
    const byLayers = async () => {
      const started = await written();
      const options = { ...compile, signal: context.signal };
      await using original = await openCausalWeights(folder);
      for (const other of others) {
        await using converted = await openCausalWeights(other);
        const agreements = await weightAgreement(original, converted, started.texts, options);
        const recalled = await weightRecall(original, converted, started.probes, options);
        add(other, agreements, recalled.original, recalled.other);
      }
      return started;
    };
    const { probes, texts } = await (plan.form === 'whole' ? byEngines : byLayers)();
    context.table(rows, [
      { header: 'model', value: 'model' },
      { header: 'greedy length', unit: `of ${tokens}`, value: 'greedyLength', format: fixed(1) },
      ...agreementColumns,
      { header: 'p', value: 'p', format: fixed(4) },
    ]);
    for (const { model, positions, recall, answers: found } of rows) {
      context.print(`\n${model}`);
      context.table(positions, [
        { header: 'position', value: ({ from, to }) => `${formatCount(from)}–${formatCount(to)}`, align: 'right' },
        ...agreementColumns,
      ]);
      context.table(recall, [
        { header: 'recall at', unit: 'tokens', value: 'distance', format: formatCount },
        { header: 'original', unit: '%', value: (row) => 100 * row.original, format: fixed(1) },
        { header: 'converted', unit: '%', value: (row) => 100 * row.converted, format: fixed(1) },
      ]);
      const { wins, ties, losses } = found;
      context.print(`whole passages: ${wins} won, ${ties} tied, ${losses} lost, of ${probes.length}`);
    }
    const [{ model, ...result }] = rows;
    context.note(
      `${formatCount(texts.length)} prompts; ${model} follows ${folder} for ${formatFixed(result.greedyLength, 1)} tokens`,
    );
    const asked = { original: folder, prompts: texts.length, length, tokens, seed, ...plan };
    return { json: { ...result, ...asked, ...(rows.length > 1 && { models: rows }) } };
  },
});

/**
 * Memory of the comparison: with the engines of two models; where none is exported, also by passes over the layers of both, after
 * the original has written with its matrices in 4 bits.
 * @param texts how many, and the most tokens of one
 */
async function comparisonMemory(
  folder: string,
  others: readonly string[],
  texts: Parameters<typeof agreementMemory>[2],
): Promise<Partial<Record<MemoryForm, number>>> {
  const models = [folder, ...others];
  const [own, ...opened] = await Promise.all(models.map((model) => openingMemory(model)));
  const whole = own + Math.max(...opened) - processBytes;
  if ((await Promise.all(models.map(isExport))).includes(true)) return { whole };
  await using original = await openCausalWeights(folder);
  const names = new Set(original.parameters.keys());
  let layers = await openingMemory(folder, writingType);
  for (const other of others) {
    await using converted = await openCausalWeights(other);
    const weights = segmentWeights(transferParameters<AnyParameter>(converted, original.parameters, names));
    const pass = agreementMemory(original.model, converted.model, texts, weights, names).layers;
    layers = Math.max(layers, processBytes + memoryAfterEngine(original.model.parameters) + pass);
  }
  return { whole, layers };
}

/** Before hours of work. @throws LinnetError `MISMATCH` for another vocabulary, and as `open` */
async function requireVocabulary(original: StepEngine, folder: string): Promise<void> {
  await using other = await open(folder);
  requireSameVocabulary(original.model, other.description);
}

type ComparedModel = ReturnType<typeof compared>;

function compared(
  model: string,
  agreements: readonly TextAgreement[],
  reference: readonly TextAgreement[] | undefined,
  original: readonly RecallAnswer[],
  recalled: readonly RecallAnswer[],
) {
  const positions = agreementByPosition(agreements);
  return {
    model,
    ...meanAgreement(agreements),
    p: fartherProbability(agreements, reference),
    positions,
    recall: recallByDistance(original, recalled),
    answers: comparedAnswers(original, recalled),
  };
}
