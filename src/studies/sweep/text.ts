/**
 * Inputs of the models of a study, in the form of their kind: a causal model predicts the next token, an encoder masked ones
 * (BERT, arXiv 1810.04805), an encoder-decoder model the spans that were cut out (T5, arXiv 1910.10683).
 */
import { loadDocuments } from '../../data/documents/documents.ts';
import { splitDocuments } from '../../data/documents/split.ts';
import { maskingIds, maskedDocuments } from '../../data/datasets/masked.ts';
import { packDocuments } from '../../data/datasets/packing.ts';
import type { RowDataset } from '../../data/rows/row-dataset.ts';
import { spanCorruption } from '../../data/datasets/sequence-pairs.ts';
import { sentinelIds } from '../../data/datasets/span-corruption.ts';
import { LinnetError } from '../../errors.ts';
import { perplexity } from '../../evaluation/perplexity/perplexity.ts';
import { type EvaluationData, evaluationData, scoredTokens } from '../../evaluation/perplexity/scored-windows.ts';
import { dataOf } from '../../graph/tensor.ts';
import { type Model, requireCausal } from '../../models/families/index.ts';
import { byKind, type EncoderDecoderModel, type EncoderModel } from '../../models/model.ts';
import { formatCount } from '../../report/quantities.ts';
import { loadTokenizer, type Tokenizer } from '../../tokenizer/tokenizer.ts';
import { maskedObjective, sequenceObjective } from '../../training/objectives/encoders.ts';
import { causalObjective, type Objective, weightsInput } from '../../training/objectives/next-token.ts';
import { requireFewSteps } from '../../training/plans/plan.ts';
import { specialTokenIds } from '../../training/plans/pretrain.ts';
import { totalUpdates } from '../../training/trainer.ts';
import { sha256 } from '../../files/digest.ts';
import type { PlanSource } from '../frame/study.ts';
import { openStart, requireVocabulary } from '../frame/train-trial.ts';
import type { SweepLesson, SweepSubject } from './lesson.ts';
import type { TextPlan } from './plan.ts';

interface StudyText {
  readonly dataset: RowDataset;
  /** Windows for a causal model, rows of the objective for others. */
  readonly heldOut: EvaluationData | RowDataset;
  readonly scored: number;
}

/** The models of a plan, and its text for each. @throws LinnetError `INPUT` or `NOT_FOUND` for the text */
export async function textSubjects(
  plan: TextPlan,
  source: PlanSource,
): Promise<(name: string) => Promise<SweepSubject>> {
  const tokenizer = await loadTokenizer(await source.tokenizer(plan.tokenizer));
  const split = splitDocuments(await loadDocuments(plan.data.map(source.place), { field: plan.field }), {
    heldOut: plan.heldOut,
  });
  const texts = new Map<string, StudyText>();
  return async (name) => {
    const choice = plan.models[name];
    const special = choice.config?.model_type === 'flash' ? {} : specialTokenIds(tokenizer);
    const start = await openStart(choice, source, special);
    const { model } = start;
    requireVocabulary(name, model, tokenizer);
    return {
      start,
      async lessons(settings) {
        const { length } = settings;
        const key = textKey(model, length);
        const text = texts.get(key) ?? (await studyText(model, tokenizer, split, { length, windows: plan.windows }));
        texts.set(key, text);
        requireFewSteps(totalUpdates(text.dataset, settings));
        return [textLesson(text, plan.data.join(', '))];
      },
    };
  };
}

function textLesson({ dataset, heldOut, scored }: StudyText, name: string): SweepLesson {
  const tokens = formatCount(dataset.rows * dataset.length);
  return {
    extent: ['text', `${name}: ${tokens} tokens to train on; ${formatCount(scored)} held-out tokens are scored`],
    measured: scored,
    prepare(model, settings) {
      const objective = studyObjective(model, dataset);
      const every = totalUpdates(dataset, settings);
      const rows = 'windows' in heldOut ? undefined : heldOut;
      return {
        model,
        objective,
        dataset,
        evaluation: rows && { dataset: rows, objective, every, keep: 'last' },
        measuredOn: () =>
          'windows' in heldOut
            ? heldOut.windows.map(({ tokens, scoredFrom }) => `\n${scoredFrom}:${tokens.join(' ')}`)
            : [heldOut.fingerprint()],
        async measure({ parameters, evaluations }, { compile, signal }) {
          if (!('windows' in heldOut)) return { perplexity: Math.exp(evaluations.at(-1)?.loss ?? Number.NaN) };
          const found = await perplexity(requireCausal(model), parameters, heldOut, { ...compile, signal });
          return { perplexity: found.perplexity };
        },
      };
    },
  };
}

interface Documents {
  readonly training: readonly { readonly text: string }[];
  readonly heldOut: readonly { readonly text: string }[];
}

/** Tokens per row, and the maximum of held-out windows or rows. */
interface TextOptions {
  readonly length: number;
  readonly windows: number;
}

/** Seed of masks and cut spans, the same for all seeds of a study, which draw weights and order. */
const maskSeed = 0;

/** @throws LinnetError `CONFIG` for an encoder without room for CLS, SEP and mask, `INPUT` for too little text */
async function studyText(
  model: Model,
  tokenizer: Tokenizer,
  documents: Documents,
  options: TextOptions,
): Promise<StudyText> {
  return await byKind(model, {
    causal: () => windowText(tokenizer, documents, options),
    encoder: (own) => rowText(maskedRows(own, tokenizer, options), documents, options),
    'encoder-decoder': (own) => rowText(spanRows(own, tokenizer, options), documents, options),
  });
}

/** Models whose text is the same have the same key. */
function textKey({ kind, sizes: { vocabulary } }: Model, length: number): string {
  // Ids that the tokenizer lacks are at the end of the vocabulary.
  return kind === 'causal' ? `${kind} ${length}` : `${kind} ${length} ${vocabulary}`;
}

function rowText(rowsOf: RowsOf, { training, heldOut }: Documents, { windows }: TextOptions): StudyText {
  const rows = firstRows(rowsOf(heldOut), windows);
  return { dataset: rowsOf(training), heldOut: rows, scored: weightOf(rows) };
}

async function windowText(
  tokenizer: Tokenizer,
  { training, heldOut }: Documents,
  { length, windows: most }: TextOptions,
): Promise<StudyText> {
  const all = await evaluationData(heldOut, tokenizer, { mode: 'text', length, stride: length });
  const data = { ...all, windows: all.windows.slice(0, most) };
  return {
    dataset: await packDocuments(training, tokenizer, { length }),
    heldOut: data,
    scored: scoredTokens(data.windows),
  };
}

type RowsOf = (texts: readonly { readonly text: string }[]) => RowDataset;

function maskedRows({ family, sizes }: EncoderModel, tokenizer: Tokenizer, { length }: TextOptions): RowsOf {
  const ids = maskingIds(tokenizer, sizes.vocabulary);
  if (ids === undefined) {
    throw new LinnetError(
      'CONFIG',
      `a ${family} model learns from masked tokens, but the tokenizer has no CLS, SEP and mask tokens; give the configuration a ` +
        `vocab_size of at least ${tokenizer.vocabularySize + 3}, whose last three ids stand for them, not ${sizes.vocabulary}`,
    );
  }
  return (texts) => maskedDocuments(texts, tokenizer, { length, seed: maskSeed, ids });
}

function spanRows({ startId, sizes }: EncoderDecoderModel, tokenizer: Tokenizer, { length }: TextOptions): RowsOf {
  const sentinels = sentinelIds(tokenizer, sizes.vocabulary);
  return (texts) => spanCorruption(texts, tokenizer, { length, startId, seed: maskSeed, sentinels });
}

function studyObjective(model: Model, { length, inputs }: RowDataset): Objective {
  return byKind(model, {
    causal: (own) => causalObjective(own, length),
    encoder: (own) => maskedObjective(own, length),
    'encoder-decoder'(own) {
      const [source] = inputs.source.shape;
      const [target] = inputs.labels.shape;
      return sequenceObjective(own, { source, target });
    },
  });
}

/** The same data without the rows from `rows` on. */
function firstRows(dataset: RowDataset, rows: number): RowDataset {
  const { length, inputs } = dataset;
  const kept = Math.min(rows, dataset.rows);
  return {
    rows: kept,
    length,
    inputs,
    batch: (visits) => dataset.batch(visits),
    fingerprint: () => sha256(`${kept} ${dataset.fingerprint()}`),
  };
}

/** Predictions that count, when all rows are seen in their first pass. */
function weightOf(dataset: RowDataset): number {
  let weight = 0;
  for (let row = 0; row < dataset.rows; row++) {
    for (const value of dataOf(dataset.batch([{ row, epoch: 0 }])[weightsInput], 'float32')) weight += value;
  }
  return weight;
}
