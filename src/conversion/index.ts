/** `linnet/conversion`: from a softmax checkpoint to a linearized model of equal quality. */
export { calibrate, type CalibrationOptions, type LayerFit } from './calibrate.ts';
export { type Conversion, convert } from './convert.ts';
export type { ConversionEvent, ConversionOptions, KeptLayers } from './options.ts';
export {
  distillLayers,
  type DistillLayersDetails,
  type DistillLayersOptions,
  planDistillLayers,
} from './distill-layers.ts';
export { LayerStates, type LayerStatesOptions, type TransferInputs } from './layer-states.ts';
export { type LayerInputs, type LayerTrainingOptions, type LayerTransfer, transferLayer } from './layer-transfer.ts';
export { type ConversionMeasures, measureConversion, type MeasureConversionOptions, type Pair } from './measure.ts';
export type { ConversionMemory, MixerOptions } from './plan.ts';
export type { ConversionProgress, StageResult } from './progress-file.ts';
export { type ConversionCharts, conversionCharts, conversionReport } from './report.ts';
export { layerSensitivity, type LayerSensitivity, layersToKeep } from './sensitivity.ts';
export { openReader, type StageSteps, type Weighted } from './stages.ts';
export { calibrationTexts, type ConversionTexts, conversionTexts } from './texts.ts';
