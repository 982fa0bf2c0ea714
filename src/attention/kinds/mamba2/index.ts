/**
 * Mamba-2 (Dao and Gu, arXiv 2405.21060), as published models use it. At every position x (H heads of P channels), B and C
 * (Γ groups of N numbers) go through a filter of L positions with a bias and SiLU, channel by channel; with
 * dt = softplus(dt + dt_bias), per head
 *
 *     S ← e^(−e^(A_log)·dt)·S + dt·x Bᵀ,   y = S C + D·x
 *
 * It is gated linear attention with data-dependent decay, and runs as such. Projections, gate and norm are the model's.
 */
import type { MixerKind } from '../../mixer.ts';
import { describeMamba2, mamba2Dims, type Mamba2Mixer, mamba2Parameters, mamba2Schema } from './config.ts';
import { mamba2Parallel } from './parallel.ts';
import { mamba2Reference } from './reference.ts';
import { mamba2Recurrent } from './step.ts';

export const mamba2Kind = {
  kind: 'mamba2',
  family: 'granitemoehybrid',
  ownDims: mamba2Dims,
  schema: mamba2Schema,
  describe: describeMamba2,
  parameters: mamba2Parameters,
  horizon: ({ group, kernel }) => ({ group, reach: kernel - 1 }),
  reference: mamba2Reference,
  parallel: mamba2Parallel,
  recurrent: mamba2Recurrent,
  presets: {},
} satisfies MixerKind<Mamba2Mixer>;
