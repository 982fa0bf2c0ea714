/**
 * The worker's side of the views of attention and of the mask: the checkpoint next to the page, linearized here, in graphs
 * built here. Loaded when one of the views is first used.
 */
import { groupOf, horizonOf, stateBytes } from '../../src/attention/mixers.ts';
import { describeMixer } from '../../src/attention/mixer-config.ts';
import { mixerPreset } from '../../src/attention/presets.ts';
import { randomMixerParameters } from '../../src/evaluation/check/mixer-probe.ts';
import { tokenInfluence } from '../../src/evaluation/check/token-influence.ts';
import { attentionMaps, type LayerMaps } from '../../src/models/attention-maps.ts';
import { linearize } from '../../src/models/linearize.ts';
import { Random } from '../../src/random.ts';
import type { GraphCompiler } from '../../src/runtime/program.ts';
import { compileForWeb } from '../../src/runtime/web-compile.ts';
import { fetchCheckpoint, type TabCheckpoint } from './checkpoint.ts';
import type { Looked, Moved, ShownLayer, ViewMixer } from './views-protocol.ts';

/** Of drawn parameters: the same for everybody. */
const seed = 1;

/** Longer texts are cut: a map has a place for every pair of tokens. */
const mostTokens = 64;

const compile: GraphCompiler = (graph) => compileForWeb(graph, { device: 'wasm' });

export class ViewsHost {
  readonly #folder: string;
  #checkpoint: Promise<TabCheckpoint> | undefined;

  /** @param folder URL of the checkpoint */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** @throws LinnetError as `attentionMaps` and `fetchCheckpoint` */
  async look(text: string, mixer: ViewMixer): Promise<Looked> {
    const checkpoint = await this.#opened();
    const { tokens, texts } = readText(checkpoint, text);
    const { model, parameters } = linearized(checkpoint, mixer);
    const linear = await attentionMaps(model, parameters, tokens, { compile });
    const softmax = await attentionMaps(checkpoint.model, checkpoint.parameters, tokens, { compile });
    const shown = (layer: LayerMaps): ShownLayer => shownLayer(layer, tokens.length, model.sizes);
    return { tokens: texts, linear: linear.layers.map(shown), softmax: softmax.layers.map(shown) };
  }

  /** @throws LinnetError as `tokenInfluence` and `fetchCheckpoint` */
  async move(text: string, mixer: ViewMixer): Promise<Moved> {
    const checkpoint = await this.#opened();
    const { tokens, texts } = readText(checkpoint, text);
    const { model, parameters } = linearized(checkpoint, mixer);
    const { moved, replacements } = await tokenInfluence(model, parameters, tokens, { compile });
    return { tokens: texts, replacements: replacements.map((token) => checkpoint.tokenizer.decode([token])), moved };
  }

  /** A failed download is tried again by the next request. */
  #opened(): Promise<TabCheckpoint> {
    this.#checkpoint ??= fetchCheckpoint(this.#folder).catch((error: unknown) => {
      this.#checkpoint = undefined;
      throw error;
    });
    return this.#checkpoint;
  }
}

function readText({ tokenizer }: TabCheckpoint, text: string) {
  const tokens = tokenizer.encode(text, { bos: tokenizer.bosId !== undefined }).slice(0, mostTokens);
  const texts = Array.from(tokens, (token) => (token === tokenizer.bosId ? '⟨s⟩' : tokenizer.decode([token])));
  return { tokens, texts };
}

function linearized(
  { model, parameters }: TabCheckpoint,
  { preset, group, kernel, masked, parameters: own }: ViewMixer,
) {
  const options = { group, kernel, unmasked: !masked, localKernel: 'softmax' } as const;
  const changed = linearize(model, parameters, mixerPreset(preset, options));
  if (own === 'drawn') {
    for (const [name, value] of randomMixerParameters(changed.model, new Random(seed)))
      changed.parameters.set(name, value);
  }
  return changed;
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
