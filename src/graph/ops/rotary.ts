/** Rotary position embedding: pairs of features turned by an angle that grows with the position. */
import { defineOp, only, type Value } from '../graph.ts';
import { formatShape, sameShape, shapeError } from '../shape.ts';
import { tensor } from '../tensor.ts';
import { neg } from './unary.ts';

type RotaryAttributes = { readonly interleaved: boolean };

export const rotaryOp = defineOp<RotaryAttributes>({
  name: 'rotary',
  infer([x, cos, sin]) {
    const [batch, length, , width] = x.shape;
    const half = typeof width === 'number' ? width / 2 : width;
    if (x.rank !== 4 || typeof half !== 'number' || !Number.isInteger(half)) {
      throw shapeError('rotary', `needs [B,T,H,D] with even D, got ${x}`);
    }
    const expected = [batch, length, half];
    if (!sameShape(cos.shape, expected) || !sameShape(sin.shape, expected)) {
      throw shapeError('rotary', `${x} needs cos and sin of shape ${formatShape(expected)}, got ${cos} and ${sin}`);
    }
    return [{ dtype: x.dtype, shape: x.shape }];
  },
  // One fused op: 3 to 10 times faster than products, slices and concatenations. It takes heads side by side.
  lower(emitter, node, { interleaved }) {
    const [x] = node.inputs;
    const [input, cos, sin] = node.inputs.map((value) => emitter.name(value));
    const heads = Number(x.shape[2]);
    const width = Number(x.shape[3]);
    const int64 = (sizes: number[]): string =>
      emitter.constant(tensor('int64', [sizes.length], BigInt64Array.from(sizes.map(BigInt))));
    const flat = emitter.temporary();
    const turned = emitter.temporary();
    emitter.emit('Reshape', [input, int64([0, 0, heads * width])], [flat]); // [B,T,H*D]
    emitter.emit('RotaryEmbedding', [flat, cos, sin], [turned], {
      interleaved: { int: interleaved ? 1 : 0 },
      num_heads: { int: heads },
    });
    emitter.emit('Reshape', [turned, int64([0, 0, heads, width])], [emitter.name(node.outputs[0])]); // [B,T,H,D]
  },
  // The inverse of a rotation is the rotation by the negative angle. The angles are data: no gradient.
  gradient(node, [dy], { interleaved }) {
    if (dy === undefined) return [];
    const [, cos, sin] = node.inputs;
    return [rotary(dy, cos, neg(sin), { interleaved })];
  },
});

/**
 * Turns feature pairs (a, b) to (a·cos − b·sin, b·cos + a·sin).
 *
 * @param x [B,T,H,D]; pairs are (i, i + D/2), or (2i, 2i + 1) with `interleaved`
 * @param cos [B,T,D/2], cosine of position · frequency
 * @param sin [B,T,D/2]
 */
export function rotary(x: Value, cos: Value, sin: Value, options: { interleaved?: boolean } = {}): Value {
  return only(rotaryOp.apply([x, cos, sin], { interleaved: options.interleaved ?? false }));
}
