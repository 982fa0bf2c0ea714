/**
 * Assembles a decoding engine from an exported folder's graphs. The only way to do so, on disk and behind a URL: only the
 * reader differs. Also runs in browsers.
 */
import { EXPORT_FILE } from '../checkpoint/folder-files.ts';
import { checkMedusaTree } from '../checkpoint/medusa-trees.ts';
import { listedLengths, SourceEncoder } from '../decoding/source-encoder.ts';
import { StepEngine } from '../decoding/step-engine.ts';
import { LinnetError } from '../errors.ts';
import { type JsonObject, parseJsonObject } from '../files/json-object.ts';
import type { Graph, ValueType } from '../graph/graph.ts';
import { lowerGraph } from '../graph/onnx/lowering.ts';
import { formatShape } from '../graph/tensor.ts';
import { encoderSignature } from '../models/graphs/encoder-graph.ts';
import { foldGraph } from '../models/graphs/fold-graph.ts';
import { describeModel, requireGenerating } from '../models/families/index.ts';
import { byKind, decoderOf, type EncoderDecoderModel, type GeneratingModel } from '../models/model.ts';
import { foldGraphs, modelLayout } from '../models/graphs/model-layout.ts';
import { mtpStepModel } from '../models/graphs/mtp-graph.ts';
import { finalName, stepGraph } from '../models/graphs/step-graph.ts';
import { storedParameters, unreadable } from '../quantization/sources.ts';
import type { Program } from '../runtime/program.ts';
import {
  dataFileOf,
  encoderFileOf,
  type ExportManifest,
  exportedFiles,
  formsOfManifest,
  parseManifest,
} from './manifest.ts';

/** A graph's inputs or outputs by name. */
export type NamedTypes = ReadonlyMap<string, ValueType>;

/** Throws unless a graph has the expected inputs and outputs. */
export type SignatureCheck = (inputs: NamedTypes, outputs: NamedTypes) => void;

/** Access to an exported folder's files. */
export interface ExportReader {
  /** A file's name in errors. */
  nameOf(file: string): string;
  /**
   * Opens one of the folder's graphs with its weights.
   * @param check called with the graph's declared inputs and outputs before it is used
   */
  openGraph(file: string, role: GraphRole, check: SignatureCheck): Promise<Program>;
  /** Checks a graph to be opened later. Absent if a graph reveals nothing until it is opened. */
  checkGraph?(file: string, check: SignatureCheck): Promise<void>;
  /** `deviceAddsInOrder` for the device that opens the graphs. Absent in pages: WebAssembly sums alike on every machine. */
  readonly addsInOrder?: () => Promise<boolean>;
}

/** A graph's purpose in an exported folder. Encoders are opened repeatedly, as texts of their lengths are read. */
export type GraphRole = 'step' | 'prompt' | 'fold' | 'heads' | 'encoder';

/** Reads linnet.json. @throws LinnetError `FORMAT` if it is malformed */
export function readManifest(bytes: Uint8Array, source: string): ExportManifest {
  return parseManifest(parseJsonObject(bytes, source, { uniqueKeys: true }), source);
}

/**
 * The model in an exported folder's config.json.
 * @throws LinnetError `CONFIG` for an unusable configuration, and for a model that generates nothing; `FORMAT` if linnet.json
 *   and the model disagree about an encoder, and for Medusa heads or a multi-token prediction layer that do not fit the model
 */
export function exportedModel(config: JsonObject, manifest: ExportManifest, source: string): GeneratingModel {
  const { encoder, medusa, mtp } = manifest;
  const model = requireGenerating(describeModel(config));
  if ((decoderOf(model).cross !== undefined) !== (encoder !== undefined)) {
    const found = encoder === undefined ? 'without its encoder' : 'with an encoder, which it does not have';
    throw new LinnetError('FORMAT', `${source} describes a ${model.family} model ${found}`);
  }
  if (mtp !== undefined && mtpStepModel(model) === undefined) throw noMtp(model, source);
  if (medusa?.tree !== undefined) {
    checkMedusaTree(medusa.tree.paths, medusa.heads, model.sizes.vocabulary, source);
  }
  return model;
}

/**
 * Opens the graphs that decoding needs: the step graph, the prompt graph if there is one, and the fold graphs. Each must have
 * exactly the inputs and outputs that the configuration asks for. Encoder graphs are opened when a text of their length is
 * read.
 * @throws LinnetError `FORMAT` for a graph that is missing or does not belong to the configuration, and the reader's errors;
 *   graphs already open are closed
 */
export async function assembleEngine(
  reader: ExportReader,
  manifest: ExportManifest,
  model: GeneratingModel,
): Promise<StepEngine> {
  const decoder = decoderOf(model);
  const files = new Map<string, Program>();
  const open = async (file: string, role: GraphRole, graph: Graph): Promise<Program> => {
    const check = signatureCheck(lowerGraph(graph, manifest.device), reader.nameOf(file));
    const other = files.get(file);
    if (other !== undefined) {
      check(other.inputs, other.outputs);
      throw new LinnetError('FORMAT', `${reader.nameOf(EXPORT_FILE)} gives ${file} two purposes`);
    }
    const program = await reader.openGraph(file, role, check);
    files.set(file, program);
    return program;
  };
  try {
    const layout = modelLayout(decoder, formsOfManifest(manifest));
    const step = stepGraph(decoder, shapesAlone, layout);
    const program = await open(exportedFiles.model, 'step', step);
    const prompt = manifest.prompt && (await open(exportedFiles.prompt, 'prompt', step));
    const folds = new Map<string, Program>();
    for (const { name, layer } of foldGraphs(layout)) {
      const file = Object.hasOwn(manifest.folds, name) ? manifest.folds[name] : undefined;
      if (file === undefined) {
        throw new LinnetError(
          'FORMAT',
          `${reader.nameOf(EXPORT_FILE)} names no fold graph for ${JSON.stringify(name)}`,
        );
      }
      folds.set(name, await open(file, 'fold', foldGraph(decoder, layer, shapesAlone, layout)));
    }
    const encoder = await byKind(model, {
      causal: () => undefined,
      'encoder-decoder': (own) => encoderOf(reader, manifest, own),
    });
    return new StepEngine(decoder, program, folds, { prompt, encoder, addsInOrder: reader.addsInOrder }, layout);
  } catch (error) {
    for (const program of files.values()) await program.dispose();
    throw error;
  }
}

/**
 * The engine of the multi-token prediction layer.
 * @throws LinnetError `FORMAT` for a graph that is missing or does not belong to the configuration
 */
export async function assembleMtp(
  reader: ExportReader,
  manifest: ExportManifest,
  model: GeneratingModel,
): Promise<StepEngine> {
  const layer = mtpStepModel(model);
  if (layer === undefined) throw noMtp(model, reader.nameOf(EXPORT_FILE));
  const layout = modelLayout(layer, formsOfManifest(manifest));
  const signature = lowerGraph(stepGraph(layer, shapesAlone, layout), manifest.device);
  const check = signatureCheck(signature, reader.nameOf(exportedFiles.mtp));
  return new StepEngine(layer, await reader.openGraph(exportedFiles.mtp, 'heads', check), new Map(), {}, layout);
}

function noMtp({ family }: GeneratingModel, source: string): LinnetError {
  return new LinnetError(
    'FORMAT',
    `${source} describes a ${family} model with a multi-token prediction layer, which it does not have`,
  );
}

/**
 * A folder's encoder.
 * @throws LinnetError `FORMAT` for a graph that does not belong to the configuration, as far as the reader can tell yet
 */
async function encoderOf(
  reader: ExportReader,
  { encoder }: ExportManifest,
  model: EncoderDecoderModel,
): Promise<SourceEncoder> {
  const lengths = encoder?.lengths ?? [];
  const checkOf = (length: number): SignatureCheck =>
    signatureCheck(encoderSignature(model, length), reader.nameOf(encoderFileOf(length)));
  for (const length of lengths) await reader.checkGraph?.(encoderFileOf(length), checkOf(length));
  return new SourceEncoder(model, {
    ...listedLengths(lengths),
    compile: (length) => reader.openGraph(encoderFileOf(length), 'encoder', checkOf(length)),
  });
}

/** Parameters for a graph built only for its inputs and outputs. */
export const shapesAlone = (graph: Graph) => storedParameters('f32', graph, unreadable);

/** A graph's inputs and outputs; some graphs lack an optional input. */
export interface Signature {
  readonly inputs: readonly (ValueType & { readonly name: string; readonly optional?: boolean })[];
  readonly outputs: readonly (ValueType & { readonly name: string })[];
}

/** @param source name of the graph's file in errors */
export function signatureCheck(expected: Signature, source: string): SignatureCheck {
  return (inputs, outputs) => {
    const needed = expected.inputs.filter(({ name, optional }) => optional !== true || inputs.has(name));
    // Earlier versions' graphs have none.
    const isAsked = ({ name }: { readonly name: string }): boolean =>
      !name.startsWith(finalName) || inputs.has(finalName);
    requireSame(source, 'input', inputs, needed.filter(isAsked));
    requireSame(source, 'output', outputs, expected.outputs.filter(isAsked));
  };
}

function requireSame(source: string, what: string, found: NamedTypes, expected: Signature['inputs']): void {
  const surplus = [...found.keys()].find((name) => !expected.some((value) => value.name === name));
  if (surplus !== undefined) {
    throw new LinnetError(
      'FORMAT',
      `${source} has the ${what} "${surplus}", which its configuration does not ask for; ${exportAgain}`,
    );
  }
  for (const { name, dtype, shape } of expected) {
    const type = found.get(name);
    const described = type === undefined ? 'missing' : `${type.dtype}${formatShape(type.shape)}`;
    if (described === `${dtype}${formatShape(shape)}`) continue;
    throw new LinnetError(
      'FORMAT',
      `${source}: ${what} "${name}" is ${described}, its configuration asks for ${dtype}${formatShape(shape)}; ${exportAgain}`,
    );
  }
}

const exportAgain = 'if another version of Linnet wrote it, export the model again';

/** Text whose SHA-256 is an export's fingerprint. Excludes tokenizer files and heads: they change no number of the model. */
export function exportIdentity({ dtype, device, files, folds, prompt, encoder }: ExportManifest): string {
  const counted = [exportedFiles.config, exportedFiles.model, dataFileOf(exportedFiles.model), ...Object.values(folds)];
  if (prompt !== undefined) counted.push(exportedFiles.prompt, dataFileOf(exportedFiles.prompt));
  counted.push(...(encoder?.lengths ?? []).map(encoderFileOf).flatMap((file) => [file, dataFileOf(file)]));
  const parts = [...new Set(counted)].sort().map((name) => [name, files[name]?.sha256 ?? null]);
  return `linnet export 1\n${JSON.stringify([dtype, device, parts])}`;
}
