/** What training commands leave behind: weights, losses, and a run that can be cut short and resumed. */
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { readRun } from '../../src/report/record.ts';
import { runJson } from './captured-cli.ts';

/** The file of weights of a model folder. */
export const weightsFile = (folder: string): Promise<Buffer> => readFile(join(folder, 'model.safetensors'));

/** Two folders have the same weights to the byte. */
export async function expectSameWeights(folder: string, other: string): Promise<void> {
  const weights = await Promise.all([folder, other].map(weightsFile));
  expect(weights[0].equals(weights[1])).toBe(true);
}

/** Names of the parameters that differ between two causal models of the same parameters. */
export async function changedParameters(before: string, after: string): Promise<string[]> {
  const [a, b] = [await loadCausalModel(before), await loadCausalModel(after)];
  expect([...b.parameters.keys()]).toEqual([...a.parameters.keys()]);
  return [...a.parameters]
    .filter(([name, { data }]) => String(data) !== String(b.parameters.get(name)?.data))
    .map(([name]) => name);
}

/** The loss of every update of the run that saved `out`. */
export async function losses(out: string): Promise<number[]> {
  const { metrics } = await readRun(`${out}.run`);
  return metrics.map(({ loss }) => Number(loss));
}

/** Makes the run that saved `out` one that was stopped between its last two snapshots: `--resume` goes on from there. */
export async function cutShort(out: string): Promise<void> {
  const folder = join(`${out}.run`, 'snapshots');
  const snapshots = (await readdir(folder)).sort();
  expect(snapshots.length).toBeGreaterThan(1);
  await rm(out, { recursive: true });
  await rm(join(folder, snapshots[snapshots.length - 1]));
}

/** A training command gives the weights of `out`, which it has saved before, again when it is cut short and resumed. */
export async function expectSameAfterResume(command: readonly string[], out: string): Promise<void> {
  const other = `${out}-resumed`;
  await runJson(...command, '--out', other);
  await cutShort(other);
  await runJson(...command, '--out', other, '--resume');
  await expectSameWeights(out, other);
}
