/** Needles in haystacks: the needles that models find in a long text, by its length and their depth. */
import { createHash } from 'node:crypto';
import { readDocuments } from '../../data/documents/documents.ts';
import { EngineScorer } from '../../engine/scoring/engine-scorer.ts';
import { LastOpened } from '../../jobs/last-opened.ts';
import { openCausal } from '../../open/running-model.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { type StudyDefinition, trialIdentity } from '../frame/study.ts';
import { readHaystack } from './haystack.ts';
import { measureNeedles, type NeedleSettings } from './measure.ts';
import { type NeedleFields, type NeedleMeasured, needleMeasured, type NeedlePlace, needlePlan } from './plan.ts';
import { reportNeedles } from './report.ts';
import { needleTaskNames, needleTasks } from './task.ts';

interface NeedleTrial extends NeedleSettings {
  readonly model: string;
  readonly sentences: readonly string[];
  /** Opens the model, or gives the one that is open. */
  readonly open: () => ReturnType<typeof openScorer>;
  /** Identity of the haystack. */
  readonly text: string;
}

export const needleStudy: StudyDefinition<NeedleFields, NeedleTrial, NeedlePlace, NeedleMeasured> = {
  name: 'needle',
  description:
    'Hides sentences in a long text and asks for what they say, by the length of the text and how deep the first of them ' +
    "lies: RULER's tasks with its wording. Texts are prose as long as the length allows. With the answer generate, the share " +
    'of right answers in the generated text counts; with choose, the share of right ones among the most probable of eight ' +
    'candidates, for models that cannot answer.' +
    `\n\nTasks: ${needleTaskNames.map((name) => `${name}, ${needleTasks[name].description}`).join('; ')}.`,
  examples: [
    `linnet study needle --set 'models=["assets/tiny-llama"]' --set 'lengths=[512, 1024]' --set 'depths=[0, 0.5, 1]' --set answer=choose`,
    `linnet study needle --set 'models=["base", "runs/window"]' --set task=multi-key --set 'lengths=[4096, 32768]' --out runs/needle --json`,
  ],
  plan: needlePlan,
  measured: needleMeasured,
  async load({ models, lengths, depths, data, version: _, ...settings }, { place }, compile) {
    const sentences = await readHaystack(readDocuments([data]));
    const text = createHash('sha256').update(sentences.join('\n')).digest('hex');
    const opened = new LastOpened<Awaited<ReturnType<typeof openScorer>>>();
    const longest = Math.max(...lengths);
    const trials = models.flatMap((model) => {
      const open = () => opened.open(model, () => openScorer(place(model), longest, compile));
      return lengths.flatMap((length) =>
        depths.map((depth): NeedleTrial => ({ ...settings, model, length, depth, sentences, open, text })),
      );
    });
    return { trials, [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose]() };
  },
  place: ({ model, length, depth }) => ({ model, length, depth }),
  identity: async ({ open, sentences: _, ...trial }) => trialIdentity((await open()).fingerprint, trial),
  async run({ open, sentences, ...settings }, { signal }) {
    const { scorer, tokenizer } = await open();
    const before = scorer.usage;
    const cell = await measureNeedles(scorer, tokenizer, sentences, settings, { signal });
    const { tokensRead, tokensReused } = scorer.usage;
    return {
      ...cell,
      tokensRead: tokensRead - before.tokensRead,
      tokensReused: tokensReused - before.tokensReused,
    };
  },
  figures: ({ score, error }) => ({ score, error }),
  report: (results, { plan }) => reportNeedles(plan, results),
};

async function openScorer(path: string, longest: number, compile?: CompileOptions) {
  const opened = await openCausal(path, compile);
  const { engine, fingerprint, tokenizer } = opened;
  const scorer = new EngineScorer({ engine, tokenizer, maxLength: longest + 64 });
  return { scorer, tokenizer, fingerprint, [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose]() };
}
