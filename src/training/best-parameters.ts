/** The parameters with the lowest held-out loss of a run, in memory and, for a resume, in files next to its snapshots. */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { openSafetensors } from '../checkpoint/safetensors/reader.ts';
import { writeSafetensors } from '../checkpoint/safetensors/writer.ts';
import { LinnetError } from '../errors.ts';
import type { Tensor } from '../graph/tensor.ts';
import { type Evaluation, type EvaluationPlan, lowest } from './held-out.ts';
import type { ParameterBlock } from './parameter-blocks.ts';

/** Parameters by block name; a training step replaces them and writes to none. */
type Blocks = ReadonlyMap<string, Tensor<'float32'>>;

const bestFile = /^best-(\d{9})\.safetensors$/;
const nameOf = (update: number): string => `best-${String(update).padStart(9, '0')}.safetensors`;

/** Keeps the best parameters of a job that asks for them; of others nothing. */
export class BestParameters {
  readonly #folder: string | undefined;
  readonly #plan: EvaluationPlan | undefined;
  readonly #blocks: readonly ParameterBlock[];
  #best: { readonly measured: Evaluation; readonly parameters: Blocks } | undefined;
  /** The best one at the snapshot before, which a damaged newest snapshot falls back to. */
  #before: number | undefined;

  /** @param folder of the snapshots, where there are any */
  constructor(plan: EvaluationPlan | undefined, folder: string | undefined, blocks: readonly ParameterBlock[]) {
    this.#plan = plan;
    this.#folder = folder;
    this.#blocks = blocks;
  }

  /** The run's final parameters in place of its last ones. */
  get kept(): { readonly measured: Evaluation; readonly parameters: Blocks } | undefined {
    return this.#plan?.keep === 'best' ? this.#best : undefined;
  }

  /** Restores the best of a resumed run. Where its file is gone, the next measurement is the best so far. */
  async restore(evaluations: readonly Evaluation[]): Promise<void> {
    const measured = lowest(evaluations);
    if (this.#plan?.keep !== 'best' || this.#folder === undefined || measured === undefined) return;
    const parameters = await readBest(this.#folder, measured.update, this.#blocks);
    if (parameters !== undefined) this.#best = { measured, parameters };
    this.#before = measured.update;
  }

  /** Takes in a measurement, the last of all. */
  async take(measured: Evaluation, parameters: Blocks, evaluations: readonly Evaluation[]): Promise<void> {
    const isBest = lowest(evaluations) === measured;
    if (this.#plan?.keep === 'best' && (isBest || this.#best === undefined)) {
      this.#best = { measured, parameters };
      if (this.#folder !== undefined) await writeBest(this.#folder, measured.update, parameters);
    }
    this.#plan?.onEvaluation?.({ ...measured, isBest });
  }

  /** Writes a snapshot, then removes files that neither it nor the previous one refers to. */
  async snapshot(write: () => Promise<void>): Promise<void> {
    await write();
    const now = this.#best?.measured.update;
    if (this.#folder === undefined || now === undefined) return;
    const kept = new Set([now, this.#before ?? now].map(nameOf));
    for (const name of await readdir(this.#folder)) {
      if (bestFile.test(name) && !kept.has(name)) await rm(join(this.#folder, name), { force: true });
    }
    this.#before = now;
  }
}

async function writeBest(folder: string, update: number, parameters: Blocks): Promise<void> {
  const entries = [...parameters].map(([name, { shape, data }]) => ({ name, dtype: 'F32' as const, shape, data }));
  await writeSafetensors(join(folder, nameOf(update)), entries, { update: String(update) });
}

async function readBest(
  folder: string,
  update: number,
  blocks: readonly ParameterBlock[],
): Promise<Blocks | undefined> {
  if (!(await readdir(folder)).includes(nameOf(update))) return undefined;
  await using file = await openSafetensors(join(folder, nameOf(update)));
  const parameters = new Map<string, Tensor<'float32'>>();
  for (const { name, shape } of blocks) {
    const found = await file.readFloat32(name);
    if (String(found.shape) !== String(shape)) {
      throw new LinnetError(
        'FORMAT',
        `${file.source}: "${name}" is [${found.shape.join(',')}], expected [${shape.join(',')}]`,
      );
    }
    parameters.set(name, found);
  }
  return parameters;
}
