/** `open` for Node: a model from a folder, the hub or a URL, ready to be asked. */
import { readGenerationConfig } from '../checkpoint/huggingface.ts';
import { ignoringFields } from '../checkpoint/ignored-fields.ts';
import {
  classifierRefusal,
  type ModelInFolder,
  openInPlace,
  readParameters,
  saveModel,
} from '../checkpoint/load-model.ts';
import { hasMedusaHeads, loadMedusaHeads } from '../checkpoint/medusa-files.ts';
import { weightBytes } from '../checkpoint/weight-bytes.ts';
import { DecodingEngine } from '../decoding/engine.ts';
import { restoreSession, saveSession } from '../decoding/state/session-file.ts';
import type { StepEngine } from '../decoding/step-engine.ts';
import type { SessionFiles } from '../engine/session-store.ts';
import { ifFound, LinnetError } from '../errors.ts';
import { storedSource } from '../export/encoded-graphs.ts';
import { formsOfExport } from '../export/manifest.ts';
import { type OptionKind, requireCount, requireOneOf, requireOptions, requireTexts } from '../files/arguments.ts';
import { sha256 } from '../files/digest.ts';
import type { DeferredTensor } from '../graph/tensor.ts';
import type { ClassifierModel } from '../models/classifiers/classifier.ts';
import { exchangeByName, exchangedParameters } from '../models/linearization/linearize.ts';
import { mtpStepModel } from '../models/graphs/mtp-graph.ts';
import { MedusaHeads } from '../models/medusa/medusa-heads.ts';
import { requireModelKind } from '../models/families/index.ts';
import {
  byKind,
  decoderOf,
  type EncoderModel,
  type GeneratingModel,
  type Model,
  type ModelKind,
  type ModelsByKind,
} from '../models/model.ts';
import { parameterCount } from '../nn/parameters.ts';
import { readerOf, type WeightReader } from '../quantization/weight-reader.ts';
import { blockForSize, type MemoryType, type WeightType, weightTypes } from '../quantization/sources.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import { openChatTemplate } from '../tokenizer/chat-template-sources.ts';
import { loadTokenizer, readChatTemplate } from '../tokenizer/tokenizer.ts';
import { keptTypes, type KeptWeights, keptWeights } from './kept-weights.ts';
import { folderFiles, isExport, openExportedHeads, openExportedMtp } from './folder-files.ts';
import { type DraftHeads, EncoderDecoder, LanguageModel, type WriterParts } from './language-model.ts';
import { openExport, type WriterByKind } from './model-files.ts';
import {
  type ModelSurroundings,
  type OpenedKind,
  openedKinds,
  requireOpenedKind,
  type WeightActions,
} from './opened-model.ts';
import { Classifier, Encoder } from './readers.ts';
import { type DownloadOptions, folderOfModel } from './source.ts';
import { TextReader } from './text-reader.ts';

/** Opened models by kind. */
export interface OpenedByKind extends WriterByKind {
  readonly encoder: Encoder;
  readonly classifier: Classifier;
}

/** An opened model of any kind. */
export type AnyModel = OpenedByKind[OpenedKind];

/** How a model is opened: where it runs, and how it is downloaded if it is not here. */
export interface OpenOptions extends DownloadOptions, Omit<CompileOptions, 'lean' | 'scratch'> {
  /** What clients call it. Default: its origin. */
  readonly name?: string;
  /** A chat template instead of the folder's. */
  readonly chatTemplate?: string;
  /**
   * How matrices of a checkpoint that generates texts are stored in memory; made when the engine is, for less memory and faster
   * steps; int4 in blocks of `blockForSize`. Default: f32, and the codes of a GGUF file or of a quantized folder as they are. An export has the type that it was written in.
   */
  readonly dtype?: WeightType;
  /** For trees of any depth that follow a `TreeRule`, of checkpoints: graphs that take a tenth longer. Default false. */
  readonly crossesFolds?: boolean;
  /** Bytes that an encoder-decoder checkpoint may take to read a text. Default: three quarters of the available memory. */
  readonly memory?: number;
  /** Compare the checksums of all files of an exported folder, weights included. Default: of its small files. */
  readonly verify?: boolean;
  /** Fields of a checkpoint's config.json to leave out, which are refused by their names and do not change its results. Default: none. */
  readonly ignore?: readonly string[];
}

/**
 * Opens a model: a run folder, a Hugging Face folder, an exported folder, a model of the hub or an export behind a URL.
 * Graphs of checkpoints are compiled when they are first needed.
 *
 * @param source a folder; `linnet:tiny-llama`, which comes with the package; `owner/name` of the hub, where nothing here has
 *   a name like it; or a URL. Downloads are kept in `~/.cache/linnet`, and announced to `onPlan` or by a line on the
 *   standard error.
 * @param options.device default `cpu`, and for an exported folder the device that it was made for
 * @param options.spin default true for models that write texts, but for checkpoints of fewer than 2²⁶ parameters
 * @throws LinnetError `NOT_FOUND` if there is no such model, `INPUT` for a source that is none of these, `CONFIG` for a
 *   model of another kind, an unsupported one, or a `dtype` where it has no meaning, `FORMAT`, `TENSOR` or `PATH` for invalid
 *   files, `MISMATCH` for a device that an export was not made for
 * @example
 * ```ts
 * await using model = await open('runs/augmented');
 * for await (const text of model.generate('Once upon a time')) process.stdout.write(text);
 * ```
 */
export function open(
  source: string | URL,
  options?: OpenOptions & { readonly kind?: undefined },
): Promise<LanguageModel>;
export function open<Kind extends OpenedKind>(
  source: string | URL,
  options: OpenOptions & { readonly kind: Kind | readonly Kind[] },
): Promise<OpenedByKind[Kind]>;
export async function open(
  source: string | URL,
  options: OpenOptions & { readonly kind?: OpenedKind | readonly OpenedKind[] } = {},
): Promise<AnyModel> {
  requireOptions(options, 'the options of open', openOptionKinds, openOptionKinds);
  const { device, threads, worker, spin, profile, verify, dtype, name, chatTemplate, kind = 'causal' } = options;
  const kinds = typeof kind === 'string' ? [kind] : kind;
  for (const each of kinds) requireOneOf(each, 'kind', openedKinds);
  const compile = { device, threads, worker, spin, profile };
  const folder = await folderOfModel(source, options);
  const surroundings = async (origin: string, fingerprint: string): Promise<ModelSurroundings> => {
    const { sampling: defaults } = await readGenerationConfig(origin);
    const around = { origin, fingerprint, name, defaults, fileBytes: await weightBytes(origin) };
    const tokenizer = await ifFound(loadTokenizer(origin));
    if (tokenizer === undefined) return around;
    const template =
      chatTemplate === undefined
        ? await readChatTemplate(origin, tokenizer)
        : await openChatTemplate(chatTemplate, tokenizer, '`chatTemplate`');
    return { ...around, tokenizer, template };
  };
  if (!(await isExport(folder))) {
    const { ignore, crossesFolds = false, memory } = options;
    const openStored = async () => {
      const canKeep = (device ?? 'cpu') === 'cpu' && !crossesFolds;
      const type = canKeep ? keptTypes.find((each) => each === dtype) : undefined;
      const kept = type && (await keptWeights(folder, type, compile));
      return { kept, stored: await openInPlace(folder, kept?.fingerprint) };
    };
    const { kept, stored } = await (ignore === undefined ? openStored() : ignoringFields(ignore, openStored));
    if ('labels' in stored.model && !kinds.includes('classifier')) {
      throw classifierRefusal(stored.path, stored.model.labels);
    }
    requireOpenedKind(stored.model, stored.path, kinds);
    const around = await surroundings(stored.path, stored.fingerprint);
    return openWeights({ ...stored, around, compile, crossesFolds, memory, dtype, kept });
  }
  if (dtype !== undefined) {
    throw new LinnetError('CONFIG', `${folder} is exported with a fixed type; leave out \`dtype\``);
  }
  return await openExport(folderFiles(folder, { ...compile, verify }), async (exported) => {
    requireOpenedKind(exported.model, exported.path, kinds);
    return {
      ...(await surroundings(exported.path, exported.fingerprint)),
      sessionFiles: sessionFiles(exported.fingerprint),
      heads: {
        present: () => Promise.resolve(exported.manifest.medusa !== undefined),
        open: async () => draftHeads(await openExportedHeads(exported, compile), exported.manifest.medusa?.tree),
      },
      mtp: exported.manifest.mtp && (() => openExportedMtp(exported, compile)),
    };
  });
}

const openOptionKinds: Readonly<Record<keyof OpenOptions | 'kind', OptionKind>> = {
  kind: true,
  name: true,
  chatTemplate: true,
  device: ['cpu', 'cuda', 'webgpu'],
  threads: requireCount,
  worker: true,
  spin: true,
  profile: true,
  verify: true,
  ignore: requireTexts,
  dtype: weightTypes,
  crossesFolds: true,
  memory: requireCount,
  hub: true,
  revision: true,
  onPlan: true,
  onProgress: true,
  signal: true,
};

/** A model whose weights are read when its graphs are compiled. */
interface Checkpoint<Described> extends Pick<ModelInFolder<Described>, 'model' | 'names'> {
  readonly weights: WeightReader;
  readonly around: ModelSurroundings;
  readonly compile: CompileOptions;
  /** See `OpenOptions`. */
  readonly crossesFolds: boolean;
  readonly memory?: number;
  readonly dtype?: WeightType;
  readonly kept?: KeptWeights;
}

const openers: { readonly [Kind in ModelKind]: (checkpoint: Checkpoint<ModelsByKind[Kind]>) => OpenedByKind[Kind] } = {
  causal: (own) => new LanguageModel(own.model, writerParts('causal', own)),
  'encoder-decoder': (own) => new EncoderDecoder(own.model, writerParts('encoder-decoder', own)),
  encoder: (own) => new Encoder(own.model, textReader(own.model, own), own.around, weightActions('encoder', own)),
};

function openWeights({ model, ...others }: Checkpoint<Model | ClassifierModel>): AnyModel {
  if ('labels' in model) return new Classifier(model, textReader(model, others), others.around);
  return byKind(model, {
    causal: (own) => openers.causal({ ...others, model: own }),
    'encoder-decoder': (own) => openers['encoder-decoder']({ ...others, model: own }),
    encoder: (own) => openers.encoder({ ...others, model: own }),
  });
}

/** @throws LinnetError `CONFIG` for another type of the weights than float32 */
function textReader(
  model: EncoderModel | ClassifierModel,
  { weights, around: { origin, tokenizer }, compile, dtype = 'f32' }: Omit<Checkpoint<unknown>, 'model'>,
): TextReader {
  if (dtype === 'f32') return new TextReader(model, { tokenizer, weights, compile });
  throw new LinnetError('CONFIG', `${origin} generates no text and always runs in float32; leave out \`dtype\``);
}

/** Actions on the weights, which read them. */
function weightActions<Kind extends ModelKind>(
  kind: Kind,
  checkpoint: Checkpoint<Model>,
): WeightActions<OpenedByKind[Kind]> {
  const { model, weights, names, around } = checkpoint;
  return {
    async linearize(mixer, options) {
      const changed = exchangeByName(model, mixer, options);
      const originals = new Map<string, DeferredTensor<'float32'>>();
      for (const [name, { shape }] of [...model.parameters, ...(model.optionalParameters ?? [])]) {
        if (names.includes(name)) originals.set(name, { dtype: 'float32', shape, load: () => weights.read(name) });
      }
      const parameters = exchangedParameters(model, changed, originals);
      const stays = (name: string): boolean => parameters.get(name) === originals.get(name);
      const fingerprint = sha256(`${around.fingerprint} ${JSON.stringify(changed.mixers)}`);
      return openers[kind]({
        ...checkpoint,
        model: requireModelKind(changed, kind, () => 'internal: linearizing changed the kind of a model'),
        weights: {
          ...readerOf(parameters),
          codes: weights.codes && ((name: string) => (stays(name) ? weights.codes?.(name) : undefined)),
          place: (name: string) => (stays(name) ? weights.place?.(name) : undefined),
          hold: weights.hold?.bind(weights),
        },
        names: [...parameters.keys()],
        around: { ...around, fingerprint },
        kept: undefined,
      });
    },
    async save(to, options) {
      await saveModel(
        to,
        { model, parameters: await readParameters({ names, read: (name) => weights.read(name) }) },
        { ...options, tokenizerFiles: { from: around.origin } },
      );
    },
  };
}

/** Parameters from which on threads that wait for the next op are worth their core. */
const leastSpun = 2 ** 26;

/** The parts of a model that writes texts. */
function writerParts<Kind extends keyof WriterByKind>(
  kind: Kind,
  checkpoint: Checkpoint<GeneratingModel>,
): WriterParts<WriterByKind[Kind]> {
  const { model, weights, names, around, compile, crossesFolds, memory, dtype: asked, kept } = checkpoint;
  const { origin, fingerprint } = around;
  const dtype: MemoryType = asked ?? (weights.codes === undefined ? 'f32' : 'stored');
  const block = dtype === 'int4' ? blockForSize(model.parameters) : undefined;
  const stored = { dtype, block, device: compile.device === 'webgpu' ? 'webgpu' : 'cpu' } as const;
  // States of weights in other forms are other states.
  const form = block === undefined || block === 32 ? dtype : `${dtype} ${block}`;
  const computed = dtype === 'f32' ? fingerprint : sha256(`${fingerprint} ${form}`);
  const mtp = mtpStepModel(model, names);
  const compiled = async (described: GeneratingModel): Promise<StepEngine> => {
    await using _files = weights.hold?.();
    if (kept !== undefined && described === model) return await kept.engine(model);
    const source = storedSource(decoderOf(described), weights, stored);
    const scratch = dtype !== 'f32' || weights.codes !== undefined;
    const spin = compile.spin ?? parameterCount(model.parameters) >= leastSpun;
    const usual = formsOfExport({ block, device: compile.device ?? 'cpu' });
    const forms = { ...usual, crossesFolds: usual.crossesFolds || crossesFolds };
    return await DecodingEngine.compile(described, source, { ...compile, spin, scratch, forms, memory });
  };
  return {
    ...around,
    weights: weightActions(kind, checkpoint),
    fingerprint: computed,
    engine: () => compiled(model),
    mtp: mtp && (() => compiled(mtp)),
    sessionFiles: sessionFiles(computed),
    heads: {
      present: () => hasMedusaHeads(origin),
      open: async () => {
        const { config, parameters, tree } = await loadMedusaHeads(origin, { model, fingerprint });
        return draftHeads(await MedusaHeads.create(config, model.sizes, parameters, compile), tree);
      },
    },
  };
}

function draftHeads(heads: MedusaHeads, tree: DraftHeads['tree']): DraftHeads {
  return { heads, tree, [Symbol.asyncDispose]: () => heads.dispose() };
}

/** Session files of a model that `fingerprint` identifies. */
function sessionFiles(fingerprint: string): SessionFiles {
  return {
    write: (path, content) => saveSession(path, { ...content, fingerprint }),
    read: (path, engine) => restoreSession(path, engine, fingerprint),
  };
}
