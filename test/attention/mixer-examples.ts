/**
 * Every example of every kind of mixer, for tests that must miss none. `completeness.test.ts` proves that each list follows
 * from the table of kinds, and that the tests of every form take their cases from here.
 */
import { mixerKinds } from '../../src/attention/kinds/index.ts';
import type { MixerConfig, MixerKind } from '../../src/attention/mixer.ts';
import { convolutionOf, isCausal, parseMixer } from '../../src/attention/mixers.ts';
import { kindExamples } from './kind-examples.ts';

/** The largest group of an example. */
export const G = 8;

export interface MixerExample {
  readonly name: string;
  readonly kind: MixerKind;
  readonly config: MixerConfig;
}

/** What a mixer must have to be in a list. */
const forms = {
  /** The reference and the parallel graph, which all kinds have, with their gradients. */
  parallel: () => true,
  /** The step graph, and so the decoding engine. */
  recurrent: ({ kind, config }) => kind.recurrent !== undefined && isCausal(config),
  bidirectional: ({ kind }) => kind.bidirectional !== undefined,
  cross: ({ kind, config }) =>
    kind.cross !== undefined && convolutionOf(config) === null && (kind.canCross?.(config) ?? true),
} as const satisfies Readonly<Record<string, (example: MixerExample) => boolean>>;

export type MixerForm = keyof typeof forms;

/** The examples of a kind; one that is not of Linnet brings its own. */
export function examplesOf({ kind, examples }: MixerKind): Readonly<Record<string, object>> {
  return { ...examples, ...(Object.hasOwn(kindExamples, kind) && kindExamples[kind]) };
}

/** All examples that have a form, in the order of the table. */
export function examplesWith(form: MixerForm): MixerExample[] {
  const all = mixerKinds().flatMap((kind) =>
    Object.entries(examplesOf(kind)).map(([name, input]) => ({ name, kind, config: parseMixer(input) })),
  );
  return all.filter(forms[form]);
}

/** All of them. */
export const mixerExamples: readonly MixerExample[] = examplesWith('parallel');
