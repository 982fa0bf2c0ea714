/** Names and shapes of BERT's parameters. Linear weights are [outputs, inputs]. */
import { mixerParameters } from '../../attention/mixers.ts';
import type { ParameterShapes } from '../../nn/parameters.ts';
import type { BertConfig, BertHead } from './config.ts';

/** The prefix of an encoder block. */
export function blockPrefix(layer: number): string {
  return `bert.encoder.layer.${layer}`;
}

/** The prefix of the query, key and value projections and of what the mixer adds. */
export function attentionPrefix(layer: number): string {
  return `${blockPrefix(layer)}.attention.self`;
}

/** Prefixes of the heads. */
export const predictionName = 'cls.predictions';
export const poolerName = 'bert.pooler.dense';
export const classifierName = 'classifier';

/** Collects parameters in order. */
class Shapes {
  readonly all = new Map<string, readonly number[]>();

  norm(name: string, width: number): void {
    this.all.set(`${name}.weight`, [width]);
    this.all.set(`${name}.bias`, [width]);
  }

  linear(name: string, inputs: number, outputs: number): void {
    this.all.set(`${name}.weight`, [outputs, inputs]);
    this.all.set(`${name}.bias`, [outputs]);
  }
}

const headParameters: Readonly<Record<Exclude<BertHead, 'none'>, (config: BertConfig, shapes: Shapes) => void>> = {
  'masked-lm': ({ width, vocabulary, tiedHead }, shapes) => {
    shapes.linear(`${predictionName}.transform.dense`, width, width);
    shapes.norm(`${predictionName}.transform.LayerNorm`, width);
    if (!tiedHead) shapes.all.set(`${predictionName}.decoder.weight`, [vocabulary, width]);
    shapes.all.set(`${predictionName}.bias`, [vocabulary]);
  },
  classifier: ({ width, classes }, shapes) => addClassifier(width, classes, shapes),
};

/** All parameters of a model, its head included. */
export function bertParameters(config: BertConfig): ParameterShapes {
  const { width, feedForwardWidth, heads, vocabulary, positions, segments } = config;
  const shapes = new Shapes();
  shapes.all.set('bert.embeddings.word_embeddings.weight', [vocabulary, width]);
  shapes.all.set('bert.embeddings.position_embeddings.weight', [positions, width]);
  shapes.all.set('bert.embeddings.token_type_embeddings.weight', [segments, width]);
  shapes.norm('bert.embeddings.LayerNorm', width);
  config.mixers.forEach((mixer, layer) => {
    const block = blockPrefix(layer);
    const attention = attentionPrefix(layer);
    for (const name of ['query', 'key', 'value']) shapes.linear(`${attention}.${name}`, width, width);
    for (const { name, shape } of mixerParameters(mixer, { heads, keyValueHeads: heads, headWidth: width / heads })) {
      shapes.all.set(`${attention}.${name}`, shape);
    }
    shapes.linear(`${block}.attention.output.dense`, width, width);
    shapes.norm(`${block}.attention.output.LayerNorm`, width);
    shapes.linear(`${block}.intermediate.dense`, width, feedForwardWidth);
    shapes.linear(`${block}.output.dense`, feedForwardWidth, width);
    shapes.norm(`${block}.output.LayerNorm`, width);
  });
  if (config.head !== 'none') headParameters[config.head](config, shapes);
  return shapes.all;
}

/** The parameters of pooler and classifier for an encoder of some width. */
export function classifierParameters(width: number, classes: number): ParameterShapes {
  const shapes = new Shapes();
  addClassifier(width, classes, shapes);
  return shapes.all;
}

/** The parameters of the pooler. */
export function poolerParameters(width: number): ParameterShapes {
  const shapes = new Shapes();
  shapes.linear(poolerName, width, width);
  return shapes.all;
}

function addClassifier(width: number, classes: number, shapes: Shapes): void {
  shapes.linear(poolerName, width, width);
  shapes.linear(classifierName, width, classes);
}
