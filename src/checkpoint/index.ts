/** `linnet/checkpoint`: reads and writes Hugging Face folders, and the hub (docs/reference/formats.md). */
export {
  defaultModelFolder,
  type FetchOptions,
  type FetchProgress,
  type HubOptions,
  hubSource,
  type ModelSource,
} from './hub/hub.ts';
export { type Checkpoint, openCheckpoint } from './huggingface.ts';
export { type LoadedClassifier, loadClassifier, startClassifier } from './load-classifier.ts';
export { type LoadedModel, loadCausalModel, loadModel, saveModel } from './load-model.ts';
export {
  hasMedusaHeads,
  loadMedusaHeads,
  type MedusaNotes,
  type MedusaWeights,
  openMedusaHeads,
  type StoredMedusa,
  saveMedusaHeads,
} from './medusa-files.ts';
export type { MedusaTree } from './medusa-trees.ts';
