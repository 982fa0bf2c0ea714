/** `linnet eval agreement`: whether a converted model goes on writing as its original does. */
import { readDocuments } from '../../../data/documents/documents.ts';
import {
  agreementByPosition,
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
import { evaluationData } from '../../../evaluation/perplexity/scored-windows.ts';
import { recallProbes } from '../../../evaluation/recall/copy-recall.ts';
import type { StepEngine } from '../../../decoding/step-engine.ts';
import { open } from '../../../open/index.ts';
import { fixed, formatCount, formatFixed } from '../../../report/quantities.ts';
import { tokensBefore } from '../../../tokenizer/encode-text.ts';
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
import { memoryOption } from '../../options/memory-option.ts';
import { modelFolder } from '../../options/model-options.ts';
import { openingMemory } from '../../options/opening-memory.ts';
import { chooseForm } from '../../../training/memory-form.ts';
import { documentSources, fieldOption } from '../../options/text-options.ts';

const passage = 16;

export const evalAgreement = defineCommand({
  description:
    'Compares converted models with their original where it writes: the original continues prompts out of the text greedily, ' +
    'all models read these continuations, and their predictions are compared position by position. Recall is the share of ' +
    'tokens of a passage that are predicted when it comes again after other text. Of the first converted model, p is the ' +
    'probability of its KL by chance if the true one is at most 0.001 nats; of the others, if it is at most that of the first.',
  examples: [
    'linnet eval agreement models/stories runs/converted --data stories.jsonl --json',
    'linnet eval agreement models/stories runs/converted runs/without-memory --data book.txt --prompts 100',
  ],
  arguments: {
    models: requiredList(called('folders', modelFolder), 'the original, then converted models; exported or not'),
  },
  options: {
    data: documentSources,
    prompts: withDefault(integer(1, 1 << 16), 200, 'prompts, at random from the text'),
    length: withDefault(integer(1, 1 << 20, 'tokens'), 256, 'tokens of a prompt'),
    tokens: withDefault(integer(1, 1 << 16), 64, 'tokens of a continuation'),
    memory: memoryOption,
    ...engineOptions,
    ...settings({
      field: fieldOption,
      distances: optional(called('counts', countList), 'tokens between a passage and its return (default: 16,64,256)'),
      seed: withDefault(integer(0), 0, 'of the choice of prompts'),
    }),
  },
  writesResults: true,
  async run(
    context,
    { models, data, field, prompts: count, length, tokens, distances = [16, 64, 256], seed, memory, ...compile },
  ) {
    const [folder, ...others] = models;
    if (others.length === 0) throw new UsageError('give the original and at least one converted model');
    const bytes = await Promise.all(models.map((model) => openingMemory(model)));
    const largest = bytes[0] + Math.max(...bytes.slice(1)); // two models at a time
    chooseForm('the comparison of two models', { whole: largest }, memory, ['exports of fewer bits']);
    await using original = await open(folder, compile);
    const { tokenizer } = original;
    const engine = await original.engine();
    const stride = { mode: 'text' as const, length, stride: length };
    const { windows } = await evaluationData(readDocuments(data, { field }), tokenizer, stride);
    for (const other of others) await requireVocabulary(engine, other);
    const whole = windows.filter(({ tokens: part }) => part.length === length);
    const prompts = samplePrompts(whole.length < count ? windows : whole, count, seed);
    const text = Int32Array.from(windows.flatMap(({ tokens: part }) => [...part]));
    const possible = distances.filter((distance) => text.length >= distance + passage);
    const probes = recallProbes(text, { distances: possible, passage }, tokensBefore(tokenizer));
    const watch = <T>(label: string, work: (options: Parameters<typeof greedyTexts>[3]) => Promise<T>): Promise<T> =>
      context.withProgress(label, 'texts', (_, hooks) => work(hooks));
    const texts = await watch('writing', (options) => greedyTexts(engine, prompts, tokens, options));
    const answers = await recalledAnswers(engine, probes, context.signal);
    const rows: ComparedModel[] = [];
    let first: readonly TextAgreement[] | undefined;
    for (const other of others) {
      await using opened = await open(other, compile);
      const otherEngine = await opened.engine();
      const agreements = await watch(other, (options) => textAgreement(engine, otherEngine, texts, options));
      const recalled = await recalledAnswers(otherEngine, probes, context.signal);
      rows.push(compared(other, agreements, first, answers, recalled));
      first ??= agreements;
    }
    context.table(rows, [
      { header: 'model', value: 'model' },
      { header: 'greedy length', unit: `of ${tokens}`, value: 'greedyLength', format: fixed(1) },
      { header: 'same next', unit: '%', value: (row) => 100 * row.sameNext, format: fixed(2) },
      { header: 'KL', unit: 'nats', value: 'kl', format: fixed(5) },
      { header: 'p', value: 'p', format: fixed(4) },
    ]);
    for (const { model, positions, recall, answers: found } of rows) {
      context.print(`\n${model}`);
      context.table(positions, [
        { header: 'position', value: ({ from, to }) => `${formatCount(from)}–${formatCount(to)}`, align: 'right' },
        { header: 'same next', unit: '%', value: (row) => 100 * row.sameNext, format: fixed(2) },
        { header: 'KL', unit: 'nats', value: 'kl', format: fixed(5) },
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
      `${formatCount(prompts.length)} prompts; ${model} writes ${formatFixed(result.greedyLength, 1)} tokens as ${folder}`,
    );
    const asked = { original: folder, prompts: prompts.length, length, tokens, seed };
    return { json: { ...result, ...asked, ...(rows.length > 1 && { models: rows }) } };
  },
});

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
