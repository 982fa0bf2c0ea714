/**
 * From the graphs of an exported folder to an engine that decodes. The one way to assemble a folder, on a disk as well as
 * behind a URL: what differs is the reader. Runs in browsers too.
 */
import { EXPORT_FILE } from '../checkpoint/folder-files.ts';
import { checkMedusaTree } from '../checkpoint/medusa-trees.ts';
import { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError } from '../errors.ts';
import { type JsonObject, parseJsonObject } from '../files/json-object.ts';
import type { Graph, ValueType } from '../graph/graph.ts';
import { lowerGraph } from '../graph/onnx/lowering.ts';
import { formatShape } from '../graph/shape.ts';
import { describeCausalModel } from '../models/families.ts';
import { foldGraph } from '../models/fold-graph.ts';
import type { CausalModel } from '../models/model.ts';
import { foldGraphs, modelLayout } from '../models/model-layout.ts';
import { stepGraph } from '../models/step-graph.ts';
import { storedParameters, unreadable } from '../quantization/sources.ts';
import type { Program } from '../runtime/program.ts';
import { dataFileOf, type ExportManifest, exportedFiles, parseManifest } from './manifest.ts';

/** Inputs or outputs of a graph by name. */
export type NamedTypes = ReadonlyMap<string, ValueType>;

/** Throws unless a graph has the inputs and outputs that it should have. */
export type SignatureCheck = (inputs: NamedTypes, outputs: NamedTypes) => void;

/** How the files of an exported folder are reached. */
export interface ExportReader {
  /** How errors name a file of the folder. */
  nameOf(file: string): string;
  /**
   * Opens a graph of the folder with its weights.
   * @param check to be called with what the graph declares, before it is used
   */
  openGraph(file: string, role: GraphRole, check: SignatureCheck): Promise<Program>;
}

/** What a graph of an exported folder is for. */
export type GraphRole = 'step' | 'prompt' | 'fold' | 'heads';

/**
 * Reads linnet.json.
 * @param source how errors name it
 * @throws LinnetError `FORMAT` if it is malformed
 */
export function readManifest(bytes: Uint8Array, source: string): ExportManifest {
  return parseManifest(parseJsonObject(bytes, source, { uniqueKeys: true }), source);
}

/**
 * The model that an exported folder's config.json describes.
 * @throws LinnetError `CONFIG` for an unusable configuration, `FORMAT` for Medusa heads that do not fit it
 */
export function exportedModel(config: JsonObject, { medusa }: ExportManifest, source: string): CausalModel {
  const model = describeCausalModel(config);
  if (medusa?.tree !== undefined) {
    checkMedusaTree(medusa.tree.paths, medusa.heads, model.sizes.vocabulary, source);
  }
  return model;
}

/**
 * Opens the graphs that decoding needs: the step graph, the prompt graph where there is one, and the fold graphs. Each must
 * have exactly the inputs and outputs that the configuration asks for.
 *
 * @throws LinnetError `FORMAT` for a graph that is missing or does not belong to the configuration, and what the reader
 *   throws; what was opened by then is closed
 */
export async function assembleEngine(
  reader: ExportReader,
  manifest: ExportManifest,
  model: CausalModel,
): Promise<StepEngine> {
  const opened: Program[] = [];
  const files = new Map<string, Program>();
  const open = async (file: string, role: GraphRole, graph: Graph): Promise<Program> => {
    const check = signatureCheck(graph, manifest, reader.nameOf(file));
    const other = files.get(file);
    if (other !== undefined) {
      check(other.inputs, other.outputs);
      throw new LinnetError('FORMAT', `${reader.nameOf(EXPORT_FILE)} gives ${file} two purposes`);
    }
    const program = await reader.openGraph(file, role, check);
    files.set(file, program);
    opened.push(program);
    return program;
  };
  try {
    const layout = modelLayout(model);
    const step = stepGraph(model, shapesAlone, layout);
    const program = await open(exportedFiles.model, 'step', step);
    const prompt = manifest.prompt === undefined ? undefined : await open(exportedFiles.prompt, 'prompt', step);
    const folds = new Map<string, Program>();
    for (const { name, layer } of foldGraphs(layout)) {
      const file = Object.hasOwn(manifest.folds, name) ? manifest.folds[name] : undefined;
      if (file === undefined) {
        throw new LinnetError(
          'FORMAT',
          `${reader.nameOf(EXPORT_FILE)} names no fold graph for ${JSON.stringify(name)}`,
        );
      }
      folds.set(name, await open(file, 'fold', foldGraph(model, layer, shapesAlone, layout)));
    }
    return new StepEngine(model, program, folds, { prompt }, layout);
  } catch (error) {
    for (const program of opened) await program.dispose();
    throw error;
  }
}

/** Parameters of a graph that is built for its inputs and outputs alone. */
export const shapesAlone = (graph: Graph) => storedParameters('f32', graph, unreadable);

/** @param source how errors name the file of the graph */
export function signatureCheck(graph: Graph, { device }: ExportManifest, source: string): SignatureCheck {
  const expected = lowerGraph(graph, device);
  return (inputs, outputs) => {
    requireSame(source, 'input', inputs, expected.inputs);
    requireSame(source, 'output', outputs, expected.outputs);
  };
}

function requireSame(
  source: string,
  what: string,
  found: NamedTypes,
  expected: readonly (ValueType & { readonly name: string })[],
): void {
  const surplus = [...found.keys()].find((name) => !expected.some((value) => value.name === name));
  if (surplus !== undefined) {
    throw new LinnetError('FORMAT', `${source} has the ${what} "${surplus}", which its configuration does not ask for`);
  }
  for (const { name, dtype, shape } of expected) {
    const type = found.get(name);
    const described = type === undefined ? 'missing' : `${type.dtype}${formatShape(type.shape)}`;
    if (described === `${dtype}${formatShape(shape)}`) continue;
    throw new LinnetError(
      'FORMAT',
      `${source}: ${what} "${name}" is ${described}, its configuration asks for ${dtype}${formatShape(shape)}`,
    );
  }
}

/**
 * What the fingerprint of an export is the SHA-256 of. Tokenizer files do not count, nor do heads: they change no number
 * of the model.
 */
export function exportIdentity({ dtype, device, files, folds, prompt }: ExportManifest): string {
  const counted = [exportedFiles.config, exportedFiles.model, dataFileOf(exportedFiles.model), ...Object.values(folds)];
  if (prompt !== undefined) counted.push(exportedFiles.prompt, dataFileOf(exportedFiles.prompt));
  const parts = [...new Set(counted)].sort().map((name) => [name, files[name]?.sha256 ?? null]);
  return `linnet export 1\n${JSON.stringify([dtype, device, parts])}`;
}
