/** Layers of Mamba-2 around their mixer: projections, the gate and the norm of their outputs. */
import { mamba2Channels, type Mamba2Mixer, mamba2Schema } from '../../../attention/kinds/mamba2/config.ts';
import type { MixerConfig } from '../../../attention/mixer.ts';
import type { Value } from '../../../graph/graph.ts';
import { mul, silu } from '../../../graph/ops/elementwise.ts';
import { concat, reshape, split } from '../../../graph/ops/layout.ts';
import { rmsNorm } from '../../../graph/ops/normalization.ts';
import { tensor } from '../../../graph/tensor.ts';
import { biasedLinear, linear } from '../../../nn/linear.ts';
import type { ParameterSource } from '../../../nn/parameters.ts';
import { type OwnLayer, times } from './config.ts';

/** How families differ. */
export interface MambaLayer {
  readonly inputBias: boolean;
  readonly outputBias: boolean;
  /** Parts of the channels that have a norm each, after the gate; 0: no norm. Default 1. */
  readonly norms?: number;
  /** Factors of the input, of the parts that in_proj gives (gate, x, B, C, dt), and of the output. Default: 1. */
  readonly scales?: { readonly input: number; readonly parts: readonly number[]; readonly output: number };
}

/** The parts of what in_proj gives: the gate, x, B, C and dt. */
function projected(mixer: Mamba2Mixer): readonly number[] {
  const [channels, ...shared] = mamba2Channels(mixer);
  return [channels, channels, ...shared, mixer.heads];
}

/** The layer of a family. */
export function mambaLayer({ inputBias, outputBias, norms = 1, scales }: MambaLayer): OwnLayer {
  return {
    prefix: 'mamba',
    declare(list, prefix, { width }, config) {
      const sizes = projected(mamba2Schema.parse(config));
      const total = sizes.reduce((a, b) => a + b);
      list.add('matrix', `${prefix}.in_proj.weight`, [total, width]);
      if (inputBias) list.add('bias', `${prefix}.in_proj.bias`, [total]);
      if (norms > 0) list.add('norm', `${prefix}.norm.weight`, [sizes[0]]);
      list.add('residual output', `${prefix}.out_proj.weight`, [width, sizes[0]]);
      if (outputBias) list.add('bias', `${prefix}.out_proj.bias`, [width]);
    },
    mixed({ width, normEpsilon }, source, x, config, mix) {
      const given = inputs(source, times(x, scales?.input), width, config, inputBias);
      const [gate, ...parts] = given.map((part, i) => times(part, scales?.parts[i]));
      const channels = Number(gate.shape[2]);
      const [B, T] = x.shape;
      const [values, keys, queries, steps] = parts.map((part) => inGroups(part, mamba2Schema.parse(config)));
      const rows = { q: concat([queries, steps], 3), k: concat([keys, steps], 3), v: values };
      const gated = mul(reshape(mix(rows), [B, T, channels]), silu(gate));
      const normal =
        norms === 0 ? gated : normed(gated, source.parameter('norm.weight', [channels]), norms, normEpsilon);
      return times((outputBias ? biasedLinear : linear)(source, 'out_proj', normal, channels, width), scales?.output);
    },
  };
}

/** RMS norms of `parts` parts of x [B,T,channels]. */
function normed(x: Value, gain: Value, parts: number, epsilon: number): Value {
  if (parts === 1) return rmsNorm(x, gain, epsilon);
  const [B, T, channels] = x.shape;
  const each = Number(channels) / parts;
  const ones = x.graph.sharedConstant(`ones ${each}`, () => tensor('float32', [each], new Float32Array(each).fill(1)));
  const unit = rmsNorm(reshape(x, [B, T, parts, each]), ones, epsilon);
  return mul(reshape(unit, [B, T, channels]), gain);
}

function inputs(
  source: ParameterSource,
  x: Value,
  width: number,
  config: MixerConfig,
  hasBias: boolean,
): readonly Value[] {
  const sizes = projected(mamba2Schema.parse(config));
  const total = sizes.reduce((a, b) => a + b);
  return split((hasBias ? biasedLinear : linear)(source, 'in_proj', x, width, total), 2, sizes);
}

/** [B,T,Γ·X] → [B,T,Γ,X] */
function inGroups(rows: Value, { groups }: Mamba2Mixer): Value {
  const [B, T, width] = rows.shape;
  return reshape(rows, [B, T, groups, Number(width) / groups]);
}
