/** RMS norm, layer norm and unit length. */
import { defineOp, type Value } from '../graph.ts';
import { type Dim, sameShape, shapeError } from '../shape.ts';
import { tensor } from '../tensor.ts';
import { add, mul, sub } from './elementwise.ts';
import { mean, sumTo } from './reduce.ts';

type NormAttributes = { readonly epsilon: number };

function rowStatistics(x: Value): Dim[] {
  return [...x.shape.slice(0, -1), 1];
}

function requireGain(op: string, x: Value, gain: Value): void {
  const width = x.shape[x.rank - 1];
  if (typeof width !== 'number' || !sameShape(gain.shape, [width])) {
    throw shapeError(op, `${x} needs a gain of shape [${width}], got ${gain}`);
  }
}

export const rmsNormOp = defineOp<NormAttributes>({
  name: 'rmsNorm',
  infer([x, gain]) {
    requireGain('rmsNorm', x, gain);
    return [
      { dtype: x.dtype, shape: x.shape },
      { dtype: 'float32', shape: rowStatistics(x) },
    ];
  },
  // The fused op also yields 1/rms, which the gradient needs; the composite form is half as fast.
  lower(emitter, node, { epsilon }) {
    const inputs = node.inputs.map((input) => emitter.name(input));
    emitter.emit(
      'SimplifiedLayerNormalization',
      inputs,
      node.outputs.map((output) => emitter.name(output)),
      {
        axis: { int: -1 },
        epsilon: { float: epsilon },
        stash_type: { int: 1 },
      },
    );
  },
  gradient(node, [dy]) {
    if (dy === undefined) return [];
    const [x, gain] = node.inputs;
    const inverse = node.outputs[1];
    const unit = mul(x, inverse);
    const scaled = mul(dy, gain);
    const along = mean(mul(scaled, unit), [-1], true);
    return [mul(sub(scaled, mul(unit, along)), inverse), sumTo(mul(dy, unit), gain.shape)];
  },
});

/** x / √(mean(x²) + ε) · gain over the last axis. x [..., D], gain [D]. */
export function rmsNorm(x: Value, gain: Value, epsilon: number): Value {
  return rmsNormOp.apply([x, gain], { epsilon })[0];
}

/**
 * x / ‖x‖₂ over the last axis. The paper has no ε; a tiny one (relative to any real length) turns rows of zeros, such
 * as padding, into zeros instead of 0/0. Written as an RMS norm with gain 1/√D, twice as fast as LpNormalization.
 */
export function unitLength(x: Value): Value {
  const width = x.shape[x.rank - 1];
  if (typeof width !== 'number') throw shapeError('unitLength', `the last axis of ${x} must have a static size`);
  const gain = x.graph.sharedConstant(`unit length ${width}`, () =>
    tensor('float32', [width], new Float32Array(width).fill(1 / Math.sqrt(width))),
  );
  return rmsNorm(x, gain, 1e-24);
}

export const layerNormOp = defineOp<NormAttributes>({
  name: 'layerNorm',
  infer([x, gain, bias]) {
    requireGain('layerNorm', x, gain);
    requireGain('layerNorm', x, bias);
    return [
      { dtype: x.dtype, shape: x.shape },
      { dtype: 'float32', shape: rowStatistics(x) },
      { dtype: 'float32', shape: rowStatistics(x) },
    ];
  },
  lower(emitter, node, { epsilon }) {
    const inputs = node.inputs.map((input) => emitter.name(input));
    emitter.emit(
      'LayerNormalization',
      inputs,
      node.outputs.map((output) => emitter.name(output)),
      {
        axis: { int: -1 },
        epsilon: { float: epsilon },
      },
    );
  },
  gradient(node, [dy]) {
    if (dy === undefined) return [];
    const [x, gain, bias] = node.inputs;
    const [, average, inverse] = node.outputs;
    const unit = mul(sub(x, average), inverse);
    const scaled = mul(dy, gain);
    const along = add(mean(scaled, [-1], true), mul(unit, mean(mul(scaled, unit), [-1], true)));
    return [mul(sub(scaled, along), inverse), sumTo(mul(dy, unit), gain.shape), sumTo(dy, bias.shape)];
  },
});

/** (x − mean) / √(variance + ε) · gain + bias over the last axis. x [..., D], gain and bias [D]. */
export function layerNorm(x: Value, gain: Value, bias: Value, epsilon: number): Value {
  return layerNormOp.apply([x, gain, bias], { epsilon })[0];
}
