/** `linnet/export`: writes exported folders, and weights in fewer bits (docs/export.md). */
export { storedParameters, type WeightType, weightTypes } from '../quantization/sources.ts';
export { readerOf, type WeightReader, type WeightRows } from '../quantization/weight-reader.ts';
export { exportFolder } from './export-model.ts';
export { type ExportOptions, exportModel } from './export-model.ts';
export { type ErrorReport, type ExportManifest, parseManifest } from './manifest.ts';
export { writeOnnxModel } from './onnx-model.ts';
export { type GraphTypes, type StorageType, storageTypeNames, storageTypes } from './manifest.ts';
