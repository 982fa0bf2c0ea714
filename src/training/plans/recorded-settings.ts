/** Differences between a run and its record, for the error of a refused resume. */
import { readRun } from '../../report/record.ts';

const mostListed = 12;
const mostShown = 60;

/**
 * The fields that the record of a folder has otherwise, one a line: "settings.clip: was 1, is 0.5". Empty where there are
 * none, or no record that can be read.
 */
export async function describeDifferences(
  folder: string,
  configuration: Readonly<Record<string, unknown>>,
): Promise<string> {
  const recorded = await readRun(folder).catch(() => undefined);
  if (recorded === undefined) return '';
  const before = leaves(recorded.record.configuration);
  const now = leaves(configuration);
  const changed = [...new Set([...before.keys(), ...now.keys()])].filter((key) => before.get(key) !== now.get(key));
  const lines = changed
    .slice(0, mostListed)
    .map((key) => `${key}: was ${shown(before.get(key))}, is ${shown(now.get(key))}`);
  if (changed.length > mostListed) lines.push(`and ${changed.length - mostListed} more`);
  return lines.join('\n');
}

function shown(value: string | undefined): string {
  if (value === undefined) return 'not set';
  return value.length <= mostShown ? value : `${value.slice(0, mostShown)}…`;
}

/** Fields that are no objects, by path; lists count as one value. */
function leaves(value: object, prefix = ''): Map<string, string> {
  return new Map(
    Object.entries(value).flatMap(([key, field]: [string, unknown]): [string, string][] => {
      const isGroup = typeof field === 'object' && field !== null && !Array.isArray(field);
      return isGroup ? [...leaves(field, `${prefix}${key}.`)] : [[`${prefix}${key}`, JSON.stringify(field)]];
    }),
  );
}
