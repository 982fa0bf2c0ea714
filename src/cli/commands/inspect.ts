/** `linnet inspect`: the description of a model and the memory of a session, without reading its weights. */
import { canDecode, growsWithText } from '../../attention/mixers.ts';
import type { GenerationDefaults } from '../../checkpoint/generation-config.ts';
import { openCheckpoint, readGenerationConfig } from '../../checkpoint/huggingface.ts';
import type { GgufFacts } from '../../checkpoint/gguf/model.ts';
import { type PathKind, recognizePath } from '../../checkpoint/path-kind.ts';
import { ifFound } from '../../errors.ts';
import { type ExportManifest, formsOfManifest, storageTypes } from '../../export/manifest.ts';
import { thinkingFormatOf } from '../../engine/thinking/thinking-format.ts';
import { toolFormatOf } from '../../engine/tools/tool-formats.ts';
import { readExportedFolder } from '../../open/folder-files.ts';
import { listNames } from '../../files/name-list.ts';
import { describeClassifier, isClassifierConfig } from '../../models/classifiers/classifier.ts';
import { describeModel, type Model } from '../../models/families/index.ts';
import { modelLayout, roundingCauses } from '../../models/graphs/model-layout.ts';
import { mtpStepModel } from '../../models/graphs/mtp-graph.ts';
import { decoderOf, type ModelDescription } from '../../models/model.ts';
import { compile } from '../../runtime/compile.ts';
import { deviceAddsInOrder } from '../../runtime/kernel-probes.ts';
import { formatBytes, formatCount, formatShortCount, formatTokens } from '../../report/quantities.ts';
import { remarkOnRows } from '../../tokenizer/model-rows.ts';
import { loadTokenizer, readChatTemplate, type Tokenizer } from '../../tokenizer/tokenizer.ts';
import { defineCommand, flag } from '../framework/command.ts';
import type { CommandResult, CommandContext } from '../framework/context.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { folderOf } from '../options/model-options.ts';
import {
  describeHeads,
  headsBeside,
  headsJson,
  comparedContexts,
  countParameters,
  layerSpan,
  mixerRuns,
  type SessionMemory,
  sessionMemory,
  stateFormula,
} from '../output/model-summary.ts';

export const inspect = defineCommand({
  description:
    "Shows a model's family, sizes, mixers, Medusa heads and tokenizer, a session's memory next to the key-value cache of a softmax model of the same " +
    "sizes, and the cost of an exported folder's storage type. Reads only the headers of weights. Identifies other files (an adapter, a session, " +
    'heads, a tokenizer, a run, weights quantized elsewhere, a checkout without its large files) and names the command that takes them.',
  examples: [
    'linnet inspect linnet:tiny-llama',
    'linnet inspect runs/augmented --json',
    'linnet inspect runs/augmented-int4 --verify',
    'linnet inspect models/Qwen2.5-0.5B-Instruct-Q4_K_M.gguf --json',
    'linnet inspect talk.session',
  ],
  arguments: { model: folderOf('the model') },
  options: { verify: flag('verify the checksums of all files in an exported folder, weights included') },
  async run(context, { model: folder, verify }) {
    const other = await recognizePath(folder);
    const isExported = other?.name === 'export';
    if (verify && !isExported)
      throw new UsageError('--verify needs an exported folder: other models have no checksums');
    if (other !== undefined && !isExported) return describeOther(context, folder, other);
    const { model, parameters, storedBytes, storedTypes, exported, labels, gguf, hasMtp } = isExported
      ? await describeExportedFolder(context, folder, verify)
      : await describeCheckpoint(folder);
    const tokenizer = await ifFound(loadTokenizer(folder));
    const template = tokenizer && (await ifFound(readChatTemplate(folder, tokenizer)));
    const { sampling: generation } = await readGenerationConfig(folder);
    const heads = await headsBeside(folder, exported);
    const counts = countParameters(model, parameters);
    const memory = labels === undefined ? sessionMemory(model) : undefined;
    const bits = labels === undefined ? await bitsOf(model, exported) : undefined;
    const total = `${formatCount(counts.total)} (${formatShortCount(counts.total)})`;
    const { family, sizes, unknownFields = [] } = model;
    printFacts(context, {
      family,
      GGUF: gguf && describeGguf(gguf),
      kind: labels === undefined ? kindNames[model.kind] : describeLabels(labels),
      parameters: `${total}, ${formatCount(counts.mixers)} of them in mixers`,
      weights: `${formatBytes(storedBytes)} as ${storedTypes.join(', ')}`,
      ...(exported && describeExport(exported)),
      Medusa: heads && describeHeads(heads),
      drafts: hasMtp ? 'a layer of multi-token prediction' : undefined,
      sizes: describeSizes(model),
      'trained length': `${formatTokens(sizes.trainedLength)} tokens`,
      'not read': unknownFields.length === 0 ? undefined : `${listNames(unknownFields)} of config.json`,
      sampling: describeGeneration(generation),
      'bits of a token': bits && describeBits(bits.cause),
      tokenizer: tokenizer === undefined ? 'none in the folder' : describeTokenizer(tokenizer),
    });
    const runs = mixerRuns(model.mixers);
    context.print('');
    context.table(runs, [
      { header: 'layers', value: ({ layers }) => layerSpan(layers) },
      { header: 'mixer', value: 'description' },
    ]);
    context.print('');
    if (labels === undefined) printMemory(context, model, memory);
    else context.print(classifierUse);
    if (verify) context.print('\nevery file matches its size and checksum in linnet.json');
    return {
      json: {
        family,
        kind: labels === undefined ? model.kind : 'classifier',
        labels,
        parameters: counts.total,
        mixerParameters: counts.mixers,
        sizes,
        trainedLength: sizes.trainedLength,
        weights: { bytes: storedBytes, types: storedTypes },
        sameBits: bits === undefined ? null : bits.cause === undefined,
        export: exported === undefined ? null : exportJson(exported),
        medusa: headsJson(heads),
        mtp: hasMtp,
        mixers: runs,
        layers: model.mixers.map((mixer) => {
          return { kind: mixer.kind, constant: memory === undefined ? null : !growsWithText(mixer) };
        }),
        ...memoryJson(memory),
        unknownFields,
        generation: { ...generation, eosIds: model.eosIds },
        stateFormula: memory === undefined ? null : stateFormula(model).join('\n'),
        architecture: gguf?.architecture,
        types: gguf?.types,
        contextLength: sizes.trainedLength,
        template: template?.source ?? null,
        toolFormat: template === undefined ? null : toolFormatOf(template).name,
        thinking: thinkingFormatOf(template)?.name ?? null,
        tokenizer: tokenizer === undefined ? null : { ...tokenizerJson(tokenizer), model: gguf?.tokenizer },
      },
    };
  },
});

function describeGeneration(generation: GenerationDefaults): string | undefined {
  const values = Object.entries(generation).map(([name, value]) => `${name} ${value}`);
  return values.length === 0 ? undefined : `${values.join(', ')} unless a request says otherwise`;
}

function exportJson({ dtype, device, prompt, encoder, report }: ExportManifest) {
  return { dtype, device, prompt, encoder, report };
}

function tokenizerJson({ vocabularySize, bosId, eosId, withoutRow = [] }: Tokenizer) {
  return { vocabulary: vocabularySize, bos: bosId ?? null, eos: eosId ?? null, withoutRow };
}

/** Why bits differ from tree to tree and batch to batch on this processor, if they do; undefined for a model that does not decode. */
async function bitsOf(model: Model, exported: ExportManifest | undefined): Promise<{ cause?: string } | undefined> {
  if (model.kind === 'encoder') return undefined;
  const decoder = decoderOf(model);
  if (!decoder.mixers.every(canDecode)) return undefined;
  const { roundingCause: cause } = modelLayout(decoder, exported && formsOfManifest(exported));
  if (cause !== undefined || (await deviceAddsInOrder('cpu', (graph) => compile(graph)))) return { cause };
  return { cause: roundingCauses.kernels };
}

function describeBits(cause: string | undefined): string {
  return cause === undefined
    ? 'the same alone, in trees, batches and chunks'
    : `equal up to rounding in trees, batches and chunks: ${cause}`;
}

/** Summary lines by name; undefined ones are left out. */
type Facts = Readonly<Record<string, string | undefined>>;

function printFacts(context: CommandContext, facts: Facts): void {
  const lines = Object.entries(facts).filter(([, value]) => value !== undefined);
  const width = Math.max(...lines.map(([name]) => name.length));
  for (const [name, value] of lines) context.print(`${name.padEnd(width)}  ${value}`);
}

/** Output for a path that is not a model: its kind, and the command that takes it. */
function describeOther(context: CommandContext, path: string, { name, is, advice }: PathKind): CommandResult {
  printFacts(context, { kind: is, use: advice });
  return { json: { kind: name, path, is, advice } };
}

function describeGguf({ architecture, types, tokenizer = 'none' }: GgufFacts): string {
  const counts = Object.entries(types).map(([type, count]) => `${count} ${type}`);
  return `${architecture}; tensors: ${counts.join(', ')}; tokenizer: ${tokenizer}`;
}

function describeLabels(labels: readonly string[]): string {
  return `classifier with ${labels.length} labels: ${listNames(labels)}`;
}

const classifierUse =
  'It classifies whole texts and has no state. "linnet classify" labels texts, "linnet eval accuracy" measures it, ' +
  '"linnet finetune --objective classify" trains it further.';

const kindNames: Readonly<Record<Model['kind'], string>> = {
  causal: 'causal: predicts the next token',
  encoder: 'encoder: reads a whole text at once',
  'encoder-decoder': 'encoder-decoder: reads a text, then generates another',
};

interface DescribedFolder {
  readonly model: Model;
  readonly parameters: ModelDescription['parameters'];
  readonly labels?: readonly string[];
  readonly storedBytes: number;
  readonly storedTypes: readonly string[];
  readonly exported?: ExportManifest;
  readonly gguf?: GgufFacts;
  readonly hasMtp: boolean;
}

async function describeExportedFolder(
  context: CommandContext,
  folder: string,
  verify: boolean,
): Promise<DescribedFolder> {
  const { model, manifest } = await context.withProgress('verify', 'bytes', ({ onProgress }) =>
    readExportedFolder(folder, { verify, onProgress }),
  );
  const { weightBytes, prompt, encoder } = manifest;
  const { step, prompt: promptType } = storageTypes[manifest.dtype];
  return {
    model,
    parameters: model.parameters,
    storedBytes: weightBytes + (prompt?.weightBytes ?? 0) + (encoder?.weightBytes ?? 0),
    storedTypes: promptType === undefined ? [step] : [step, promptType],
    exported: manifest,
    hasMtp: manifest.mtp !== undefined,
  };
}

async function describeCheckpoint(folder: string): Promise<DescribedFolder> {
  await using checkpoint = await openCheckpoint(folder);
  const { config } = checkpoint;
  const classifier = isClassifierConfig(config) ? describeClassifier(config) : undefined;
  const model = classifier?.model ?? describeModel(config);
  const tensors = [...checkpoint.tensors.values()];
  return {
    model,
    labels: classifier?.labels,
    parameters: (classifier ?? model).parameters,
    storedBytes: tensors.reduce((total, { byteLength }) => total + byteLength, 0),
    storedTypes: [...new Set(tensors.map(({ dtype }) => dtype))].sort(),
    gguf: checkpoint.gguf,
    hasMtp: model.kind === 'causal' && mtpStepModel(model, [...checkpoint.tensors.keys()]) !== undefined,
  };
}

function describeExport({ dtype, device, producer, prompt, encoder }: ExportManifest): Facts {
  const { step, prompt: type = step } = storageTypes[dtype];
  return {
    exported: `for ${device}, by version ${producer}`,
    prompts: prompt && `read with ${type}, ${formatBytes(prompt.weightBytes)}; all else with ${step}`,
    encoder: encoder && `of ${encoder.lengths.join(', ')} tokens, as ${type}, ${formatBytes(encoder.weightBytes)}`,
  };
}

function describeSizes({ sizes }: ModelDescription): string {
  const { layers, width, heads, keyValueHeads, headWidth, valueWidth, vocabulary } = sizes;
  const plain = `${heads} ${heads === 1 ? 'head' : 'heads'}`;
  const all = heads === keyValueHeads ? plain : `${heads} query heads and ${keyValueHeads} key-value heads`;
  const values = valueWidth === undefined ? '' : `, values of width ${valueWidth}`;
  return `${layers} layers of width ${width}, ${all} of width ${headWidth}${values}, vocabulary ${formatCount(vocabulary)}`;
}

/** Reports BOS and EOS even if absent, encoder tokens only if present. */
function describeTokenizer(tokenizer: Tokenizer): string {
  const { vocabularySize, bosId, eosId, clsId, sepId, padId, maskId } = tokenizer;
  const encoderTokens = Object.entries({ CLS: clsId, SEP: sepId, PAD: padId, MASK: maskId });
  const named = maskId === undefined ? [] : encoderTokens.filter(([, id]) => id !== undefined);
  return [
    `${formatCount(vocabularySize)} tokens`,
    `BOS ${bosId ?? 'none'}`,
    `EOS ${eosId ?? 'none'}`,
    ...named.map(([name, id]) => `${name} ${id}`),
    ...[remarkOnRows(tokenizer) ?? []].flat(),
  ].join(', ');
}

const stateless: Readonly<Record<Model['kind'], string>> = {
  causal: 'This model has mixers that read later positions: it cannot decode and has no state.',
  encoder: 'This model is an encoder: it cannot decode and has no state.',
  'encoder-decoder': "This model's memory depends on the text it reads as well as on the text it writes.",
};

function printMemory(context: CommandContext, model: Model, memory: SessionMemory | undefined): void {
  if (memory === undefined) {
    context.print(stateless[model.kind]);
    return;
  }
  context.table(comparedContexts, [
    { header: 'context', value: (length) => length, format: formatTokens },
    { header: 'state of a session', value: (length) => stateAt(memory, length), format: formatBytes },
    { header: 'softmax KV cache', value: (length) => memory.cachePerToken * length, format: formatBytes },
  ]);
  context.print(`\n${stateFormula(model).join('\n')}`);
}

function stateAt({ constant, perToken }: SessionMemory, length: number): number {
  return constant + perToken * length;
}

/** `stateBytes` is the whole state if `stateBytesPerToken` is 0. All null for a model that cannot decode. */
function memoryJson(memory: SessionMemory | undefined): Record<string, unknown> {
  const perContext = (bytesAt: (length: number) => number): Record<string, number> =>
    Object.fromEntries(comparedContexts.map((length) => [String(length), bytesAt(length)]));
  if (memory === undefined)
    return { stateBytes: null, stateBytesPerToken: null, stateBytesAt: null, kvCacheBytes: null };
  return {
    stateBytes: memory.constant,
    stateBytesPerToken: memory.perToken,
    stateBytesAt: perContext((length) => stateAt(memory, length)),
    kvCacheBytes: perContext((length) => memory.cachePerToken * length),
  };
}
