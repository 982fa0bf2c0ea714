/** Reads the profile that ONNX Runtime writes: a JSON list of trace events, one or more per executed node. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { LinnetError } from '../errors.ts';
import type { OpProfile, ProfileSource } from './program.ts';
import { remove } from '../files/remove.ts';
import { makeTemporaryFolder } from '../files/atomic.ts';

/** A trace event; only executed nodes' events have an `op_name`. */
const eventSchema = z.object({
  cat: z.string(),
  name: z.string(),
  /** Microseconds. */
  dur: z.number().nonnegative().default(0),
  args: z.object({ op_name: z.string().optional(), provider: z.string().optional() }).default({}),
});

/** Makes a temporary folder for the engine's profile. */
export async function createProfileFolder(): Promise<{ prefix: string; source: ProfileSource }> {
  const { path: folder } = await makeTemporaryFolder('profile');
  return {
    prefix: join(folder, 'run'),
    source: {
      async read() {
        const files = await readdir(folder);
        if (files.length !== 1)
          throw new LinnetError('RUNTIME', `the engine wrote ${files.length} profiles, expected 1`);
        return summarizeProfile(await readFile(join(folder, files[0]), 'utf8'));
      },
      dispose: () => remove(folder),
    },
  };
}

/**
 * Sums kernel times by op type and provider, longest first.
 *
 * @param json the engine's trace events
 * @throws LinnetError `FORMAT` if the text is not such a list.
 */
export function summarizeProfile(json: string): OpProfile[] {
  const totals = new Map<string, { -readonly [Key in keyof OpProfile]: OpProfile[Key] }>();
  const events = parseEvents(json);
  const runs = events.filter(({ name }) => name === 'model_run').length;
  for (const { cat, name, dur, args } of events) {
    if (cat !== 'Node' || args.op_name === undefined || !name.endsWith('_kernel_time')) continue;
    const provider = (args.provider ?? 'unknown').replace(/ExecutionProvider$/, '').toLowerCase();
    const key = `${args.op_name} ${provider}`;
    const total = totals.get(key) ?? { opType: args.op_name, provider, runs, count: 0, ms: 0 };
    total.count++;
    total.ms += dur / 1000;
    totals.set(key, total);
  }
  return [...totals.values()].sort((a, b) => b.ms - a.ms);
}

function parseEvents(json: string): z.infer<typeof eventSchema>[] {
  try {
    return z.array(eventSchema).parse(JSON.parse(json));
  } catch (error) {
    throw new LinnetError('FORMAT', 'the profile is not a list of trace events', { cause: error });
  }
}
