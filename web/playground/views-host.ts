/**
 * The worker's side of the *Attention* and *Mask* views: the open model's parameters with other mixers, in graphs
 * built here. Loaded with the first of these views.
 */
import { documentTokens } from '../../src/data/documents/document-tokens.ts';
import { describeMixer, groupOf, horizonOf, stateBytes } from '../../src/attention/mixers.ts';
import { mixerPreset } from '../../src/attention/presets.ts';
import { randomMixerParameters } from '../../src/evaluation/check/mixer-probe.ts';
import { tokenInfluence } from '../../src/evaluation/check/token-influence.ts';
import { type AttentionMaps, attentionMaps, type LayerMaps } from '../../src/models/graphs/attention-maps.ts';
import { linearize } from '../../src/models/linearization/linearize.ts';
import { Random } from '../../src/random.ts';
import { openTrainable, type TrainableModel } from '../../src/browser/trainable-model.ts';
import type { Graph } from '../../src/graph/graph.ts';
import { compileForWeb } from '../../src/runtime/web-compile.ts';
import type { Program } from '../../src/runtime/program.ts';
import type { OpenedSource } from './train-host.ts';
import type { Looked, Moved, ShownLayer, ViewMixer } from './views-protocol.ts';

/** Seed of random parameters, the same for every reader. */
const seed = 1;

/** Longer texts are cut: maps have a cell for every pair of tokens. */
const mostTokens = 64;

export class ViewsHost {
  readonly #opened: () => OpenedSource;
  /** Softmax maps of the last text, to compare other mixers with. */
  #softmax: { readonly trainable: TrainableModel; readonly text: string; readonly maps: AttentionMaps } | undefined;
  #held: { readonly source: OpenedSource; readonly trainable: Promise<TrainableModel> } | undefined;

  /** @param opened returns the open model; throws if there is none */
  constructor(opened: () => OpenedSource) {
    this.#opened = opened;
  }

  /** @throws LinnetError as `attentionMaps` and `openTrainable` */
  async look(text: string, mixer: ViewMixer): Promise<Looked> {
    const trainable = await this.#trainable();
    const { tokens, texts } = readText(trainable, text);
    const { model, parameters } = withMixer(trainable, mixer);
    const compile = (graph: Graph): Promise<Program> => this.#compile(graph);
    const linear = await attentionMaps(model, parameters, tokens, { compile });
    if (this.#softmax?.trainable !== trainable || this.#softmax.text !== text) {
      const softmax = linearize(trainable.model, trainable.parameters, mixerPreset('softmax'));
      const maps = await attentionMaps(softmax.model, softmax.parameters, tokens, { compile });
      this.#softmax = { trainable, text, maps };
    }
    const before = this.#softmax.maps;
    const shown = (layer: LayerMaps): ShownLayer => shownLayer(layer, tokens.length, model.sizes);
    return { tokens: texts, linear: linear.layers.map(shown), softmax: before.layers.map(shown) };
  }

  /** @throws LinnetError as `tokenInfluence` and `openTrainable` */
  async move(text: string, mixer: ViewMixer): Promise<Moved> {
    const trainable = await this.#trainable();
    const { tokens, texts } = readText(trainable, text);
    const { model, parameters } = withMixer(trainable, mixer);
    const { moved, replacements } = await tokenInfluence(model, parameters, tokens, {
      compile: (graph) => this.#compile(graph),
    });
    return { tokens: texts, replacements: replacements.map((token) => trainable.tokenizer.decode([token])), moved };
  }

  #compile(graph: Graph): Promise<Program> {
    return compileForWeb(graph, { device: 'wasm', threads: this.#opened().options.threads });
  }

  /** Fetched once per open model, from the cache if possible; a failed fetch is tried again. */
  #trainable(): Promise<TrainableModel> {
    const source = this.#opened();
    if (this.#held?.source !== source) this.#held = { source, trainable: openTrainable(source.url, source.options) };
    const { trainable } = this.#held;
    trainable.catch(() => (this.#held = undefined));
    return trainable;
  }
}

function readText({ tokenizer }: TrainableModel, text: string) {
  const tokens = documentTokens(tokenizer, text).slice(0, mostTokens);
  const texts = Array.from(tokens, (token) => (token === tokenizer.bosId ? '⟨s⟩' : tokenizer.decode([token])));
  return { tokens, texts };
}

function withMixer(
  { model, parameters }: TrainableModel,
  { preset, group, kernel, masked, parameters: own }: ViewMixer,
) {
  if (preset === 'own') return { model, parameters };
  const options =
    preset === 'window' ? { group } : { group, kernel, unmasked: !masked, localKernel: 'softmax' as const };
  const changed = linearize(model, parameters, mixerPreset(preset, options));
  if (own === 'start') return changed;
  return {
    ...changed,
    parameters: new Map([...changed.parameters, ...randomMixerParameters(changed.model, new Random(seed))]),
  };
}

function shownLayer(
  { mixer, heads, keyValueHeads, branches }: LayerMaps,
  length: number,
  { headWidth }: { readonly headWidth: number },
): ShownLayer {
  const { window = 1, sinks = 0 } = horizonOf(mixer);
  const group = groupOf(mixer);
  return {
    ...{ mixer: describeMixer(mixer), heads, branches, window, sinks },
    group: Number.isFinite(group) ? group : 0,
    stateBytes: stateBytes(mixer, { heads, keyValueHeads, headWidth }, Float32Array.BYTES_PER_ELEMENT, length),
  };
}
