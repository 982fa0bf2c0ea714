/**
 * Classification as text to text, as T5 was trained (Raffel et al., arXiv 1910.10683, appendix D): the source names the
 * task and its columns, the target is the word of the label, or the number rounded to 0.2.
 */
import type { LabelledText } from '../../data/datasets/labelled.ts';
import { TextPairDataset } from '../../data/datasets/sequence-pairs.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import { SequenceScorer } from '../../engine/scoring/sequence-scorer.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { EncoderDecoderModel } from '../../models/model.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { TrialHooks } from '../frame/study.ts';
import type { ClassificationTask } from './glue.ts';
import { argmax } from '../../graph/largest.ts';

/** Numbers of STS-B are 0 to 5. */
const roundedNumbers = Array.from({ length: 26 }, (_, fifths) => (fifths / 5).toFixed(1));

/** What may be written in a task, and the index of the target of a label. @param labels names of its classes; undefined for numbers */
export function textLabels({ words }: ClassificationTask, labels: readonly string[] | undefined) {
  if (labels === undefined || words === undefined) {
    const closest = (label: string): number => Math.round(Math.max(0, Math.min(5, Number(label))) * 5);
    return { targets: roundedNumbers, targetOf: closest };
  }
  return { targets: words, targetOf: (label: string) => labels.indexOf(label) };
}

/** Input text of the model: `mrpc sentence1: … sentence2: …`. */
export function sourceText({ name, columns }: ClassificationTask, { text, pair }: LabelledText): string {
  const [first, second] = columns;
  const rest = second === undefined ? '' : ` ${second}: ${pair ?? ''}`;
  return `${name.replace(/_mismatched$/, '')} ${first}: ${text}${rest}`;
}

/**
 * The most probable of the targets for each source, by the sum of the log-likelihoods of its tokens: what greedy decoding
 * writes if it writes one of them, and never none of them.
 * @param length most tokens of a source
 * @throws LinnetError `ABORTED` when the signal fires
 */
export async function rankTargets(
  model: EncoderDecoderModel,
  parameters: ReadonlyMap<string, Tensor>,
  tokenizer: Tokenizer,
  pairs: { readonly sources: readonly string[]; readonly targets: readonly string[]; readonly length: number },
  { compile, signal }: TrialHooks,
): Promise<number[]> {
  const { sources, targets, length } = pairs;
  const rows = sources.flatMap((source) => targets.map((target) => ({ source, target })));
  const dataset = new TextPairDataset(rows, tokenizer, { length, startId: model.startId });
  await using engine = await DecodingEngine.create(model, parameters, compile);
  const scorer = new SequenceScorer(engine);
  const found: number[] = [];
  for (const at of sources.keys()) {
    const texts = targets.map((_, target) => dataset.texts({ row: at * targets.length + target, epoch: 0 }));
    const sequences = texts.map(({ tokens }) => ({ tokens: [...tokens], scored: tokens.length - 1 }));
    const state = engine.newState(await engine.encode(texts[0].source));
    const scores = await scorer.score(sequences, { signal }, state);
    found.push(argmax(scores.map(({ logLikelihood }) => logLikelihood)));
  }
  return found;
}
