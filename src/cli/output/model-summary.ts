/** Summary of a model without running it: its layers in runs of equal mixers, its size, its memory per session. */
import type { MixerConfig } from '../../attention/mixer.ts';
import {
  describeMixer,
  groupOf,
  isCausal,
  isExchangeable,
  mixerDims,
  mixerParameters,
  stateBytes,
  stateShape,
} from '../../attention/mixers.ts';
import { elementCount } from '../../graph/tensor.ts';
import { parameterCount } from '../../nn/parameters.ts';
import { originalMixer } from '../../models/config-fields.ts';
import type { ModelDescription } from '../../models/model.ts';
import { describeMedusaHeads, hasMedusaHeads } from '../../checkpoint/medusa-files.ts';
import type { MedusaTree } from '../../checkpoint/medusa-trees.ts';
import type { ExportManifest } from '../../export/manifest.ts';
import { formatBytes, formatCount } from '../../report/quantities.ts';
import { remarkOnRows } from '../../tokenizer/model-rows.ts';
import type { Tokenizer } from '../../tokenizer/text-tokens.ts';
import type { CommandContext } from '../framework/context.ts';
import type { JsonObject } from '../../files/json-object.ts';

export const comparedContexts = [4096, 32768, 131072] as const;

interface MixerRun {
  /** First and last layer, both included. */
  readonly layers: readonly [first: number, last: number];
  readonly description: string;
  readonly config: MixerConfig;
}

export function mixerRuns(mixers: readonly MixerConfig[]): MixerRun[] {
  const runs: MixerRun[] = [];
  mixers.forEach((config, layer) => {
    const last = runs.at(-1);
    if (last !== undefined && JSON.stringify(last.config) === JSON.stringify(config)) {
      runs[runs.length - 1] = { ...last, layers: [last.layers[0], layer] };
    } else {
      runs.push({ layers: [layer, layer], description: describeMixer(config), config });
    }
  });
  return runs;
}

export function layerSpan([first, last]: MixerRun['layers']): string {
  return first === last ? String(first) : `${first}–${last}`;
}

/**
 * How many parameters a model has, and of them its mixers (α, λ, filter weights). A tied head counts once.
 * @param parameters the counted parameters, including a classifier's head
 */
export function countParameters(model: ModelDescription, parameters = model.parameters) {
  const ofMixers = model.mixers.flatMap((mixer) => mixerParameters(mixer, mixerDims(mixer, model.sizes)));
  return {
    total: parameterCount(parameters),
    mixers: ofMixers.reduce((total, { shape }) => total + elementCount(shape), 0),
  };
}

/** Memory of one session in float32: state(L) = constant + perToken · L bytes, L being the committed tokens. */
export interface SessionMemory {
  readonly constant: number;
  /** 0 if every layer is linear. */
  readonly perToken: number;
  /** Bytes per token of the key-value cache, if every layer were softmax attention. */
  readonly cachePerToken: number;
}

/** Memory of a session; undefined for models that cannot decode: not causal, or reading the future. */
export function sessionMemory(model: ModelDescription): SessionMemory | undefined {
  if (model.kind !== 'causal' || !model.mixers.every((mixer) => isCausal(mixer))) return undefined;
  let constant = 4 * model.sizes.layers * (model.sizes.shiftWidth ?? 0);
  let perToken = 0;
  for (const mixer of model.mixers) {
    const dims = mixerDims(mixer, model.sizes);
    const { folded, slots } = stateShape(mixer, dims);
    const after = (context: number): number => stateBytes(mixer, dims, 4, context);
    constant += after(0);
    if (slots === 'growing') perToken += after(1) - after(0);
    // A fold at a time; per token on average.
    const { span = groupOf(mixer) } = folded ?? {};
    if (folded?.kind === 'rows') perToken += (after(span) - after(0)) / span;
  }
  const attentions = model.mixers.filter((mixer) => isExchangeable(mixer)).length;
  return {
    constant,
    perToken,
    cachePerToken: attentions * stateBytes(originalMixer, mixerDims(originalMixer, model.sizes), 4, 1),
  };
}

/** The bytes of a session as formulas: one for every run of equal layers. */
export function stateFormula({ mixers, sizes }: ModelDescription): string[] {
  const shift = sizes.shiftWidth === undefined ? '' : ` + 4·${sizes.shiftWidth}`;
  const runs = mixerRuns(mixers).map(({ layers, config }) => {
    const dims = mixerDims(config, sizes);
    const { slots, keyWidth, valueWidth, folded } = stateShape(config, dims);
    const row = `(${keyWidth}+${valueWidth})`;
    const sums = folded?.kind === 'sums' ? ` + ${folded.rows}·${folded.columns}` : '';
    const { span = groupOf(config) } = folded ?? {};
    const perSpan = folded?.kind === 'rows' ? (folded.perGroup * span) / groupOf(config) : 0;
    const memory = perSpan > 0 ? ` + ${perSpan}·⌊L/${span}⌋·${row}` : '';
    return `  ${layerSpan(layers)}: 4·${dims.keyValueHeads}·(${slots === 'growing' ? 'L' : slots}·${row}${sums}${memory})${shift}`;
  });
  return [
    'Bytes of a layer after L tokens: 4 · heads · (rows · (key + value) + sums of what has left the rows)',
    ...runs,
  ];
}

interface HeadsSummary {
  readonly heads: number;
  readonly layers: number;
  /** Bytes of the heads' weights, in exported folders. */
  readonly weightBytes?: number;
  readonly tree?: MedusaTree;
}

/** The heads next to a model, its own or not; undefined if there are none. @throws LinnetError as `describeMedusaHeads` */
export async function headsBeside(
  folder: string,
  exported: ExportManifest | undefined,
): Promise<HeadsSummary | undefined> {
  if (exported !== undefined) return exported.medusa;
  if (!(await hasMedusaHeads(folder))) return undefined;
  const { config, tree } = await describeMedusaHeads(folder);
  return { ...config, tree };
}

/** `4 heads of 1 block, 1.2 MiB, tree of 10 nodes (observed)`. */
export function describeHeads({ heads, layers, weightBytes, tree }: HeadsSummary): string {
  const count = (number: number, one: string): string => `${formatCount(number)} ${number === 1 ? one : `${one}s`}`;
  return [
    `${count(heads, 'head')} of ${count(layers, 'block')}`,
    ...(weightBytes === undefined ? [] : [formatBytes(weightBytes)]),
    // Paths leave out the root, which is also a node.
    tree === undefined ? 'no tree of their own' : `tree of ${count(tree.paths.length + 1, 'node')} (${tree.method})`,
  ].join(', ');
}

export function headsJson(summary: HeadsSummary | undefined): JsonObject | null {
  if (summary === undefined) return null;
  const { heads, layers, weightBytes, tree } = summary;
  const described = tree === undefined ? null : { method: tree.method, nodes: tree.paths.length + 1 };
  return { heads, layers, weightBytes, tree: described };
}

/** Says which tokens of a model's tokenizer are left out. */
export function noteTokenizer(context: CommandContext, tokenizer: Tokenizer | undefined): void {
  const remark = tokenizer && remarkOnRows(tokenizer);
  if (remark !== undefined) context.note(remark);
}
