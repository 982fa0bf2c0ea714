/**
 * The table of mixers; no other file knows all kinds. To add one, write its folder and its line here: `mixers.ts`, the
 * support matrix, the command line's `--mixer` and the tests of every form follow.
 */
import type { z } from 'zod';
import { LinnetError } from '../../errors.ts';
import { requireKind } from '../../files/arguments.ts';
import type { MixerConfig, MixerKind } from '../mixer.ts';
import { blockLinformerKind, linformerKind } from './linformer/index.ts';
import { featuresKind } from './features/index.ts';
import { gatedKind } from './gated/index.ts';
import { gatedDeltaKind } from './gated-delta/index.ts';
import { deltaNetKind } from './delta-net/index.ts';
import { gauKind } from './gau/index.ts';
import { mamba2Kind } from './mamba2/index.ts';
import { linearKind } from './linear/index.ts';
import { shortConvKind } from './short-conv/index.ts';
import { softmaxKind } from './softmax/index.ts';
import { t5LinearKind } from './t5-linear/index.ts';
import { windowKind } from './window/index.ts';
import { yosoKind } from './yoso/index.ts';

const builtIn = [
  softmaxKind,
  windowKind,
  linearKind,
  featuresKind,
  gatedKind,
  gatedDeltaKind,
  blockLinformerKind,
  linformerKind,
  yosoKind,
  gauKind,
  deltaNetKind,
  shortConvKind,
  mamba2Kind,
  t5LinearKind,
] as const satisfies readonly MixerKind[];

type BuiltIn = (typeof builtIn)[number];

/** A mixer as input: built-in kinds may omit fields with a default. */
export type MixerInput = MixerConfig | z.input<BuiltIn['schema']>;

/** The presets of all built-in kinds. */
export type BuiltInPresets = Intersection<BuiltIn['presets']>;

/** The intersection of the members of a union. */
type Intersection<Union> = (Union extends unknown ? (member: Union) => void : never) extends (member: infer All) => void
  ? All
  : never;

const table = new Map<string, MixerKind>(builtIn.map((kind) => [kind.kind, kind]));

/** All kinds of mixers, in the order of the table. */
export function mixerKinds(): readonly MixerKind[] {
  return [...table.values()];
}

/** The kind with this name, if any. */
export function findMixerKind(name: string): MixerKind | undefined {
  return table.get(name);
}

/**
 * Registers a user-defined kind, which then works like any other in configurations, presets, models, decoding and checks.
 *
 * @returns the registration; disposing of it removes the kind
 * @throws LinnetError `CONFIG` if the kind's name or a preset's is taken, `INPUT` for other values
 * @example
 * ```ts
 * import { type MixerKind, registerMixer } from 'linnet/attention';
 *
 * declare const mean: MixerKind;
 * using registered = registerMixer(mean);
 * ```
 */
export function registerMixer(kind: MixerKind): Disposable {
  const fields = ['kind', 'schema', 'describe', 'parameters', 'reference', 'parallel', 'presets'];
  requireKind(kind, 'the kind', fields, `a MixerKind with ${fields.join(', ')}`);
  const presets = new Set(mixerKinds().flatMap((known) => Object.keys(known.presets)));
  const taken = table.has(kind.kind) ? kind.kind : Object.keys(kind.presets).find((name) => presets.has(name));
  if (taken !== undefined) throw new LinnetError('CONFIG', `there is a mixer '${taken}' already; choose another name`);
  table.set(kind.kind, kind);
  return {
    [Symbol.dispose]: () => {
      table.delete(kind.kind);
    },
  };
}
