/** Trials of a study of recall as JSON lines, so that a study which was stopped goes on where it was. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { systemErrorCode } from '../../files/regular-file.ts';
import { validated } from '../../files/schema-problems.ts';
import type { RecallTrial } from './study.ts';

const share = z.number().min(0).max(1);
const count = z.int().min(0);

const trialSchema = z.strictObject({
  method: z.string(),
  size: z.string(),
  seed: count,
  identity: z.string(),
  loss: z.number(),
  seconds: z.number(),
  tests: z.array(
    z.strictObject({
      length: count,
      pairs: count,
      accuracy: share,
      questions: count,
      byDistance: z.array(z.strictObject({ from: count, to: count, accuracy: share, questions: count })),
      stateBytes: count,
    }),
  ),
});

/** The trials as lines. */
export function recallTrialLines(trials: readonly RecallTrial[]): string {
  return trials.map((trial) => `${JSON.stringify(trial)}\n`).join('');
}

/**
 * The trials of a file, none where there is no file.
 * @throws LinnetError `FORMAT` naming the line that is not a trial
 */
export async function readRecallTrials(file: string): Promise<RecallTrial[]> {
  let contents: string;
  try {
    contents = await readFile(file, 'utf8');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  }
  const lines = contents.split('\n');
  return lines.flatMap((line, at) => {
    if (line.trim() === '') return [];
    const refusal = `${file}:${at + 1} is not a trial of a study of recall; name another file for --results`;
    return [validated(trialSchema, jsonOf(line), 'FORMAT', refusal)];
  });
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
