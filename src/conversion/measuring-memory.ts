/** Memory of a conversion's measuring and calibrating stages, with all weights in memory and layer by layer. */
import { segmentWeights } from '../checkpoint/stored-parameter.ts';
import { agreementMemory } from '../evaluation/agreement/weight-agreement.ts';
import { lossesMemory } from '../evaluation/perplexity/losses.ts';
import { modelStateBytes } from '../models/graphs/model-layout.ts';
import type { CausalModel } from '../models/model.ts';
import { parameterCount } from '../nn/parameters.ts';
import { engineMemory, type MemoryForm } from '../training/memory-form.ts';
import { processBytes } from '../training/step-cost.ts';
import { type JudgeName, judgedText, writingForm } from './judge.ts';
import { calibrationMemory } from './calibrate.ts';
import { type MeasureExtent, readingCost } from './measure-extent.ts';
import { memoryAfterJudge } from './step-form.ts';
import { type Weighted, windowLength } from './stages.ts';
import { calibrated, type ConversionTexts } from './texts.ts';

/** A decoding engine's own memory, in sizes of the weights: its copy, and the weights it lays out anew. */
const engineCopies = 1.9;

/** Peak bytes of measuring stages. */
type MeasuringMemory = Readonly<Record<'judge' | 'linearize' | 'calibrate' | 'report', number>>;

interface MeasuredWork {
  readonly original: Weighted;
  readonly student: CausalModel;
  readonly texts: ConversionTexts;
  readonly judge: JudgeName;
  readonly extent: MeasureExtent;
}

/** Measuring stages' memory in both forms; reads no weights. */
export function measuringMemory(work: MeasuredWork): Record<MemoryForm, MeasuringMemory> {
  const { original, student, texts, extent, judge } = work;
  const { model } = original;
  const { length, tokens } = judgedText(model, texts, judge);
  const weights = segmentWeights(original.parameters);
  const agreed =
    tokens === 0
      ? { whole: 0, layers: 0 }
      : agreementMemory(model, student, { length, count: tokens / length }, weights);
  const weightBytes = processBytes + 4 * parameterCount(student.parameters);
  const states = extent.contexts.reduce((sum, context) => sum + modelStateBytes(model, context), 0);
  const calibration = calibrationMemory(model, calibrated, weights);
  const stages = (
    read: (length: number, windows: number) => number,
    agreement: number,
    calibrate: number,
    engine: number,
    left: number,
  ): MeasuringMemory => {
    const judge = left + Math.max(read(windowLength(model), texts.validation.windows.length), agreement);
    return {
      judge,
      linearize: tokens === 0 ? judge : Math.max(judge, engine),
      calibrate: Math.max(judge, left + calibrate),
      report: Math.max(judge, left + read(extent.positionLength, extent.positionWindows), engine + states),
    };
  };
  const reading = (length: number, count: number): number => {
    const window = { tokens: new Int32Array(length), scoredFrom: 1 };
    return lossesMemory(
      student,
      Array.from({ length: count }, () => window),
      weights,
    ).layers;
  };
  const whole = (length: number): number => weightBytes + readingCost(model, length).peakBytes;
  return {
    whole: stages(
      whole,
      weightBytes + agreed.whole,
      calibration.whole,
      (1 + engineCopies) * (weightBytes - processBytes) + processBytes,
      0,
    ),
    layers: stages(
      reading,
      processBytes + agreed.layers,
      calibration.layers,
      engineMemory(model.parameters, writingForm.dtype, writingForm.block),
      memoryAfterJudge(original, { judge }),
    ),
  };
}
