/**
 * Text classification with T5, as `T5ForSequenceClassification`: the encoder reads the text, the decoder the same text
 * shifted right, and its state at the text's EOS token, which has read all before it, goes through a layer with tanh.
 */
import type { Value } from '../../../graph/graph.ts';
import { gather } from '../../../graph/ops/indexing.ts';
import { concat, reshape, slice } from '../../../graph/ops/layout.ts';
import { tanh } from '../../../graph/ops/elementwise.ts';
import { int32 } from '../../../graph/tensor.ts';
import { biasedLinear } from '../../../nn/linear.ts';
import type { DeclaredParameters } from '../../../nn/parameter-roles.ts';
import type { ParameterSource } from '../../../nn/parameters.ts';
import type { EncoderDecoderModel } from '../../model.ts';

const headName = 'classification_head';

/** The parameters that a classifier of `classes` classes adds to the model. */
export function t5ClassParameters({ sizes: { width } }: EncoderDecoderModel, classes: number): DeclaredParameters {
  return new Map([
    [`${headName}.dense.weight`, { shape: [width, width], role: 'matrix' }],
    [`${headName}.dense.bias`, { shape: [width], role: 'bias' }],
    [`${headName}.out_proj.weight`, { shape: [classes, width], role: 'matrix' }],
    [`${headName}.out_proj.bias`, { shape: [classes], role: 'bias' }],
  ]);
}

/** A batch of texts that end with EOS. */
export interface T5ClassifiedTexts {
  /** int32 [B,n] of static shape, padded at the end. */
  readonly tokens: Value;
  /** float32 [B,n]: 0 for padding. */
  readonly mask: Value;
  /** int32 [B]: the last EOS of every text as b·n + t, where `lastTokenRows` finds it if the text ends with it. */
  readonly ends: Value;
}

/** Logits of the classes [B,classes]. */
export function t5ClassLogits(
  model: EncoderDecoderModel,
  source: ParameterSource,
  { tokens, mask, ends }: T5ClassifiedTexts,
  classes: number,
): Value {
  const { width } = model.sizes;
  const [B, n] = tokens.shape.map(Number);
  const encoded = model.encode(source, { tokens, mask });
  const shifted = shiftedRight(tokens, model.startId);
  const hidden = model.decode(source, { tokens: shifted, encoded, encodedMask: mask }); // [B,n,width]
  const atEnd = gather(reshape(hidden, [B * n, width]), ends); // [B,width]
  const inner = tanh(biasedLinear(source, `${headName}.dense`, atEnd, width));
  return biasedLinear(source, `${headName}.out_proj`, inner, classes);
}

/** Tokens [B,n] as the decoder reads them to predict them: the start token first, the last one left out. */
function shiftedRight(tokens: Value, startId: number): Value {
  const [B, n] = tokens.shape.map(Number);
  const start = tokens.graph.constant(int32([B, 1], new Int32Array(B).fill(startId)));
  return concat([start, slice(tokens, 1, 0, n - 1)], 1);
}
