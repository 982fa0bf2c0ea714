/** Engines of models in fewer bits whose matrices are encoded one by one into a folder, and stay in its files. */
import type { StepEngine } from '../decoding/step-engine.ts';
import { assembleEngine } from '../export/assemble.ts';
import { exportModel, type ExportOptions } from '../export/export-model.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import { folderFiles, isExport } from './folder-files.ts';
import { readExport } from './model-files.ts';

/** The engine of an export that is written first where there is none. @throws LinnetError as `exportModel` and `readExport` */
export async function writtenEngine(
  folder: string,
  options: ExportOptions,
  compile: CompileOptions = {},
): Promise<StepEngine> {
  if (!(await isExport(folder))) await exportModel(folder, options);
  const files = folderFiles(folder, compile);
  const { manifest, model } = await readExport(files);
  return await assembleEngine(files.graphs(manifest), manifest, model);
}
