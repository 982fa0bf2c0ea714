/** The outputs of an exported folder against those of the float32 model it was made from. */
import { freemem } from 'node:os';
import { loadCausalModel, type ModelWeights } from '../checkpoint/load-model.ts';
import { DecodingEngine } from '../decoding/engine.ts';
import { compareOutputs } from '../evaluation/output-error.ts';
import type { EvaluateOptions } from '../evaluation/perplexity.ts';
import type { EvaluationData } from '../evaluation/scored-windows.ts';
import { elementCount } from '../graph/tensor.ts';
import type { ModelDescription } from '../models/model.ts';
import { isDeviceAvailable } from '../runtime/availability.ts';
import type { ErrorReport } from './manifest.ts';
import { openExportedModel, readExportedFolder } from './open-export.ts';

/** What is measured on. */
export interface ReportText {
  /** What the text is, for the report. */
  readonly name: string;
  readonly data: EvaluationData;
}

/** Copies of the float32 weights: those read, and those that the engine packs. */
const copies = 2;

/** Bytes that comparing with a model in float32 takes. */
export function comparisonBytes(model: Pick<ModelDescription, 'parameters'>): number {
  let numbers = 0;
  for (const shape of model.parameters.values()) numbers += elementCount(shape);
  return numbers * 4 * copies;
}

/**
 * Compares a folder with the model it was made from. Where the model does not fit into memory, the result is a note
 * that says so.
 *
 * @param source folder of the model
 * @param options.freeBytes default: what the system says is free
 * @throws LinnetError as `loadCausalModel`, `openExportedModel` and `compareOutputs`
 */
export async function measureError(
  folder: string,
  source: string,
  weights: Pick<ModelWeights, 'model'>,
  text: ReportText,
  options: EvaluateOptions & { readonly threads?: number; readonly freeBytes?: number } = {},
): Promise<Pick<ErrorReport, 'outputs' | 'note'>> {
  const { threads, freeBytes = freemem(), ...evaluate } = options;
  const needed = comparisonBytes(weights.model);
  if (needed > freeBytes) {
    const gigabytes = (count: number): string => `${(count / 1e9).toFixed(1)} GB`;
    const note = `outputs were not compared: float32 needs ${gigabytes(needed)} of memory, ${gigabytes(freeBytes)} are free`;
    return { note };
  }
  const { device } = (await readExportedFolder(folder)).manifest;
  if (!(await isDeviceAvailable(device))) {
    return { note: `outputs were not compared: the device ${device} is not available here` };
  }
  await using exported = await openExportedModel(folder, { threads });
  const { model, parameters } = await loadCausalModel(source);
  await using engine = await DecodingEngine.create(model, parameters, { threads });
  parameters.clear();
  const { perplexity, ...found } = await compareOutputs(engine, exported.engine, text.data, evaluate);
  // JSON has no spelling for them.
  if (![found.maxLogit, perplexity.reference, perplexity.other].every(Number.isFinite)) {
    return { note: 'outputs were not compared: they are not finite' };
  }
  return {
    outputs: {
      text: text.name,
      ...found,
      perplexity: { float32: perplexity.reference, exported: perplexity.other },
    },
  };
}
