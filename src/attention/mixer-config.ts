/** Configurations of mixers: which kind one is of, how it is checked and described. */
import { z } from 'zod';
import { LinnetError } from '../errors.ts';
import { validated } from '../files/schema-problems.ts';
import { findMixerKind, mixerKinds } from './kinds/index.ts';
import type { AttentionDims, MixerConfig, MixerKind, MixerParameter } from './mixer.ts';

/** The kind of a mixer. @throws LinnetError `CONFIG` for a kind that is not in the table */
export function kindOf({ kind }: MixerConfig): MixerKind {
  const found = findMixerKind(kind);
  if (found !== undefined) return found;
  throw new LinnetError('CONFIG', `there is no mixer of kind '${kind}'; known: ${kindNames().join(', ')}`);
}

function kindNames(): string[] {
  return mixerKinds().map(({ kind }) => kind);
}

const kindSchema = z.looseObject({ kind: z.string() });

/** The schema of mixers of the kinds that `allows` admits, to embed in a model's configuration. Unknown fields are refused. */
export function mixerSchemaOf(allows: (kind: MixerKind) => boolean = () => true): z.ZodType<MixerConfig> {
  return z.unknown().transform((value, context): MixerConfig => {
    const named = kindSchema.safeParse(value);
    const kind = named.success ? findMixerKind(named.data.kind) : undefined;
    if (kind === undefined || !allows(kind)) {
      const known = mixerKinds().filter(allows);
      const message = `expected a mixer, its kind one of ${known.map((each) => `"${each.kind}"`).join(', ')}`;
      context.addIssue({ code: 'custom', path: ['kind'], message });
      return z.NEVER;
    }
    const result = kind.schema.safeParse(value);
    if (result.success) return result.data;
    for (const { path, message } of result.error.issues) context.addIssue({ code: 'custom', path, message });
    return z.NEVER;
  });
}

/** The schema of any mixer. */
export const mixerSchema: z.ZodType<MixerConfig> = mixerSchemaOf();

/** Checks a configuration and fills in the defaults. @throws LinnetError `CONFIG` naming every field that is wrong. */
export function parseMixer(value: unknown): MixerConfig {
  return validated(mixerSchema, value, 'CONFIG', 'invalid mixer configuration');
}

/** A description of one line, for example `local relu² + α·global + convolution 63, G = 64`. */
export function describeMixer(config: MixerConfig): string {
  return kindOf(config).describe(config);
}

/** The parameters that a mixer adds to a layer, by name and shape. */
export function mixerParameters(config: MixerConfig, dims: AttentionDims): MixerParameter[] {
  return kindOf(config).parameters(config, dims);
}
