/** `linnet inspect`: the description of a model and the memory of a session, without reading its weights. */
import { growsWithText } from '../../attention/mixers.ts';
import { openCheckpoint } from '../../checkpoint/huggingface.ts';
import { type PathKind, recognizePath } from '../../checkpoint/path-kind.ts';
import { ifFound } from '../../errors.ts';
import type { ExportManifest } from '../../export/manifest.ts';
import { isExport, readExportedFolder } from '../../open/folder-files.ts';
import { storageTypes } from '../../export/storage-types.ts';
import { listNames } from '../../files/name-list.ts';
import { describeClassifier, isClassifierConfig } from '../../models/classifiers/classifier.ts';
import { describeModel, type Model } from '../../models/families/index.ts';
import type { ModelDescription } from '../../models/model.ts';
import { formatBytes, formatCount, formatFixed, formatShortCount, formatTokens } from '../../report/quantities.ts';
import { makeTable, textTable } from '../../report/table.ts';
import { loadTokenizer, type Tokenizer } from '../../tokenizer/tokenizer.ts';
import { defineCommand, flag } from '../framework/command.ts';
import type { CommandResult } from '../framework/io.ts';
import type { CommandContext } from '../framework/context.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { folderOf } from '../options/folder-parameters.ts';
import { describeHeads, headsBeside, headsJson } from '../output/heads-summary.ts';
import {
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
    'Shows the family, sizes, mixers, Medusa heads and tokenizer of a model, and what a session of it costs in memory ' +
    'next to the key-value cache of a softmax model of the same sizes. Reads no weights, only their headers. Of an exported ' +
    'folder also what its storage type costs. What is not a model (an adapter, a session, heads, a tokenizer, a run, GGUF, ' +
    'weights quantized by others, a checkout without its large files) is named, with the command that takes it.',
  examples: [
    'linnet inspect assets/tiny-llama',
    'linnet inspect runs/augmented --json',
    'linnet inspect runs/augmented-int4 --verify',
    'linnet inspect talk.session',
  ],
  arguments: { model: folderOf('the model') },
  options: { verify: flag('compare the checksums of all files of an exported folder, weights included') },
  async run(context, { model: folder, verify }) {
    const other = await recognizePath(folder);
    if (other !== undefined && other.name !== 'export') {
      if (verify) throw new UsageError('--verify is for exported folders, which have checksums');
      return describeOther(context, folder, other);
    }
    const { model, parameters, storedBytes, storedTypes, exported, labels } = await describeFolder(
      context,
      folder,
      verify,
    );
    const tokenizer = await ifFound(loadTokenizer(folder));
    const heads = await headsBeside(folder, exported);
    const counts = countParameters(model, parameters);
    const memory = labels === undefined ? sessionMemory(model) : undefined;
    const facts: Fact[] = [
      ['family', model.family],
      ['kind', labels === undefined ? kindNames[model.kind] : describeLabels(labels)],
      [
        'parameters',
        `${formatCount(counts.total)} (${formatShortCount(counts.total)}), of them ${formatCount(counts.mixers)} of the mixers`,
      ],
      ['weights', `${formatBytes(storedBytes)} as ${storedTypes.join(', ')}`],
      ...(exported === undefined ? [] : describeExport(exported)),
      ...(heads === undefined ? [] : [['Medusa', describeHeads(heads)] satisfies Fact]),
      ['sizes', describeSizes(model)],
      ['trained length', `${formatTokens(model.sizes.trainedLength)} tokens`],
      ['tokenizer', tokenizer === undefined ? 'none in the folder' : describeTokenizer(tokenizer)],
    ];
    printFacts(context, facts);
    const runs = mixerRuns(model.mixers);
    const mixerTable = makeTable(
      [
        { header: 'layers', value: ({ layers }) => layerSpan(layers) },
        { header: 'mixer', value: ({ description }) => description },
      ],
      runs,
    );
    context.print(`\n${textTable(mixerTable)}\n`);
    if (labels === undefined) printMemory(context, model, memory);
    else context.print(classifierUse);
    if (verify) context.print('\nevery file has the size and the checksum that linnet.json says');
    return {
      json: {
        family: model.family,
        kind: labels === undefined ? model.kind : 'classifier',
        ...(labels && { labels }),
        parameters: counts.total,
        mixerParameters: counts.mixers,
        sizes: model.sizes,
        trainedLength: model.sizes.trainedLength,
        weights: { bytes: storedBytes, types: storedTypes },
        export:
          exported === undefined
            ? null
            : {
                dtype: exported.dtype,
                device: exported.device,
                prompt: exported.prompt,
                encoder: exported.encoder,
                report: exported.report,
              },
        medusa: headsJson(heads),
        mixers: runs.map(({ layers, description, mixer }) => ({ layers, description, config: mixer })),
        layers: model.mixers.map((mixer) => ({
          kind: mixer.kind,
          constant: memory === undefined ? null : !growsWithText(mixer),
        })),
        ...memoryJson(memory),
        stateFormula: stateFormula.join('\n'),
        tokenizer:
          tokenizer === undefined
            ? null
            : { vocabulary: tokenizer.vocabularySize, bos: tokenizer.bosId ?? null, eos: tokenizer.eosId ?? null },
      },
    };
  },
});

type Fact = [name: string, value: string];

function printFacts(context: CommandContext, facts: readonly Fact[]): void {
  const width = Math.max(...facts.map(([name]) => name.length));
  for (const [name, value] of facts) context.print(`${name.padEnd(width)}  ${value}`);
}

/** Output for a path that is not a model: its kind, and the command that takes it. */
function describeOther(context: CommandContext, path: string, { name, is, advice, facts }: PathKind): CommandResult {
  printFacts(context, [['kind', is], ...Object.entries(facts), ['use', advice]]);
  return { json: { kind: name, path, is, advice, facts } };
}

function describeLabels(labels: readonly string[]): string {
  return `classifier: tells ${labels.length} labels apart, ${listNames(labels)}`;
}

const classifierUse =
  'It classifies whole texts and has no state. "linnet eval accuracy" measures it, "linnet finetune --objective classify" ' +
  'trains it further.';

const kindNames: Readonly<Record<Model['kind'], string>> = {
  causal: 'causal: predicts the next token',
  encoder: 'encoder: reads a whole text at once',
  'encoder-decoder': 'encoder-decoder: reads a text, then generates another',
};

interface DescribedFolder {
  readonly model: Model;
  /** All that are stored. */
  readonly parameters: ModelDescription['parameters'];
  /** Of a classifier: its classes. */
  readonly labels?: readonly string[];
  readonly storedBytes: number;
  readonly storedTypes: readonly string[];
  /** Of an exported folder. */
  readonly exported?: ExportManifest;
}

async function describeFolder(context: CommandContext, folder: string, verify: boolean): Promise<DescribedFolder> {
  if (await isExport(folder)) return describeExportedFolder(context, folder, verify);
  if (verify) throw new UsageError('--verify is for exported folders, which have checksums');
  return describeCheckpoint(folder);
}

async function describeExportedFolder(
  context: CommandContext,
  folder: string,
  verify: boolean,
): Promise<DescribedFolder> {
  const { model, manifest } = await context.withProgress('verify', 'bytes', (progress) =>
    readExportedFolder(folder, {
      verify,
      onProgress: (done, total) => progress.update(done, total),
    }),
  );
  const { weightBytes, prompt, encoder } = manifest;
  const { step, prompt: promptType } = storageTypes[manifest.dtype];
  return {
    model,
    parameters: model.parameters,
    storedBytes: weightBytes + (prompt?.weightBytes ?? 0) + (encoder?.weightBytes ?? 0),
    storedTypes: promptType === undefined ? [step] : [step, promptType],
    exported: manifest,
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
  };
}

function describeExport({ dtype, device, producer, prompt, encoder, report }: ExportManifest): Fact[] {
  const { outputs, note } = report;
  const facts: Fact[] = [['exported', `for ${device}, by version ${producer}`]];
  if (prompt !== undefined) {
    const { step, prompt: type } = storageTypes[dtype];
    facts.push(['prompts', `read with ${type}, ${formatBytes(prompt.weightBytes)}; all else with ${step}`]);
  }
  if (encoder !== undefined) {
    const { step, prompt: type = step } = storageTypes[dtype];
    facts.push(['encoder', `of ${encoder.lengths.join(', ')} tokens, as ${type}, ${formatBytes(encoder.weightBytes)}`]);
  }
  if (outputs === undefined) return note === undefined ? facts : [...facts, ['cost', note]];
  const { float32, exported } = outputs.perplexity;
  const cost = `perplexity ${formatFixed(exported, 4)} instead of ${formatFixed(float32, 4)} on ${formatCount(outputs.tokens)} tokens of ${outputs.text}`;
  return [...facts, ['cost', cost]];
}

function describeSizes({ sizes }: ModelDescription): string {
  const heads =
    sizes.heads === sizes.keyValueHeads
      ? `${sizes.heads} ${sizes.heads === 1 ? 'head' : 'heads'}`
      : `${sizes.heads} query heads and ${sizes.keyValueHeads} key-value heads`;
  const values = sizes.valueWidth === undefined ? '' : `, values of width ${sizes.valueWidth}`;
  return `${sizes.layers} layers of width ${sizes.width}, ${heads} of width ${sizes.headWidth}${values}, vocabulary ${formatCount(sizes.vocabulary)}`;
}

/** BOS and EOS are reported even where there is none, the tokens of encoders only where they are. */
function describeTokenizer({ vocabularySize, bosId, eosId, clsId, sepId, padId, maskId }: Tokenizer): string {
  const encoderTokens = Object.entries({ CLS: clsId, SEP: sepId, PAD: padId, MASK: maskId });
  const named = maskId === undefined ? [] : encoderTokens.filter(([, id]) => id !== undefined);
  return [
    `${formatCount(vocabularySize)} tokens`,
    `BOS ${bosId ?? 'none'}`,
    `EOS ${eosId ?? 'none'}`,
    ...named.map(([name, id]) => `${name} ${id}`),
  ].join(', ');
}

/** Why nothing is said of the memory of a session. */
const stateless: Readonly<Record<Model['kind'], string>> = {
  causal: 'This model has mixers that read later positions: it cannot decode and has no state.',
  encoder: 'This model is an encoder: it cannot decode and has no state.',
  'encoder-decoder': 'What this model remembers depends on the text it reads as well as on what it writes.',
};

function printMemory(context: CommandContext, model: Model, memory: SessionMemory | undefined): void {
  if (memory === undefined) {
    context.print(stateless[model.kind]);
    return;
  }
  const table = makeTable(
    [
      { header: 'context', value: (length) => formatTokens(length), align: 'right' },
      { header: 'state of a session', value: (length) => formatBytes(stateAt(memory, length)), align: 'right' },
      { header: 'softmax KV cache', value: (length) => formatBytes(memory.cachePerToken * length), align: 'right' },
    ],
    comparedContexts,
  );
  context.print(`${textTable(table)}\n\n${stateFormula.join('\n')}`);
}

function stateAt({ constant, perToken }: SessionMemory, length: number): number {
  return constant + perToken * length;
}

/** `stateBytes` is all there is where `stateBytesPerToken` is 0. All null for a model that cannot decode. */
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
