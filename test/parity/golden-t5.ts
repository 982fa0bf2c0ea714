/** The golden T5s with what they read and what the reference wrote about it, greedily. */
import { z } from 'zod';
import type { Tensor } from '../../src/graph/tensor.ts';
import type { EncoderDecoderModel } from '../../src/models/model.ts';
import { t5Model } from '../../src/models/families/t5/model.ts';
import { goldenConfig, goldenTensor, readGolden } from './golden.ts';
import { goldenWeights } from './golden-model.ts';

export const goldenT5Names: readonly string[] = ['hf_t5_relu', 'hf_t5_gated_gelu'];

export interface GoldenT5 {
  readonly model: EncoderDecoderModel;
  readonly weights: ReadonlyMap<string, Tensor>;
  /** Texts of unequal length, without their padding. */
  readonly texts: readonly (readonly number[])[];
  /** For each text the start token and as many as were asked for, also beyond the end of the text. */
  readonly written: readonly (readonly number[])[];
}

/** @param name one of `goldenT5Names` */
export function goldenT5(name: string): GoldenT5 {
  const io = readGolden(name);
  const model = t5Model(goldenConfig(name, z.record(z.string(), z.unknown())));
  const rowsOf = (key: string): number[][] => {
    const { shape, data } = goldenTensor(io, key);
    const [rows, length] = shape;
    return Array.from({ length: rows }, (_, row) => Array.from(data.slice(row * length, (row + 1) * length)));
  };
  const mask = rowsOf('attention_mask');
  return {
    model,
    weights: goldenWeights(name, model.parameterName),
    texts: rowsOf('input_ids').map((ids, text) => ids.filter((_, at) => mask[text][at] !== 0)),
    written: rowsOf('generate.output'),
  };
}
