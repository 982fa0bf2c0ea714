/**
 * Hidden states before the layers that are trained, layer by layer: through the original's layers, or through those already
 * converted. Keeps only the newest file, unless layers are trained elsewhere.
 *
 * The record lists the layers whose hidden states exist, with their hashes; it is written when a file is complete, and files
 * it does not name are removed afterwards, so that a killed process continues from one of them.
 */
import { makeFolder } from '../files/atomic.ts';
import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { LinnetError } from '../errors.ts';
import { type RunFile, RunFolder } from '../files/run-folder.ts';
import type { Weights } from '../graph/tensor.ts';
import { exchangedParameters } from '../models/linearization/linearize.ts';
import {
  type EmbeddedRows,
  embeddingIdentity,
  embedRows,
  openHiddenFile,
  type PassOptions,
  passLayer,
} from './hidden-states.ts';
import { hashOfTensors } from './layer-transfer.ts';
import type { Weighted } from './stages.ts';
import { remove } from '../files/remove.ts';

/** Whose hidden states layers train on. */
export const transferInputs = ['original', 'converted'] as const;
/** Hidden states of the original model, or of the model with its earlier layers converted. */
export type TransferInputs = (typeof transferInputs)[number];

const schema = z.strictObject({
  format: z.literal('linnet-transfer'),
  version: z.literal(1),
  /** Files by the layer they feed, the newest last; `sha256` covers their numbers. */
  states: z.array(z.strictObject({ layer: z.int().min(0), identity: z.string(), sha256: z.string() })),
});
type TransferProgress = z.infer<typeof schema>;

const progressFile: RunFile<TransferProgress> = {
  file: 'transfer.json',
  schema,
  what: 'the progress of a transfer',
  remedy: 'remove the folder',
};

/** A transfer's hidden states. */
export interface LayerStatesOptions extends EmbeddedRows, PassOptions {
  readonly teacher: Weighted;
  readonly student: Weighted;
  readonly inputs: TransferInputs;
  /** Whether to keep all layers' files. Default: removes each when the next is complete. */
  readonly keepAll?: boolean;
}

/** Files of hidden states in a folder. */
export class LayerStates {
  readonly #folder: RunFolder;
  readonly #options: LayerStatesOptions;
  readonly #learned = new Map<number, Weights>();
  /** Identities of the files that this process has written or checked, by layer. */
  readonly #whole = new Map<number, string>();

  constructor(folder: string, options: LayerStatesOptions) {
    this.#folder = new RunFolder(folder);
    this.#options = options;
  }

  /** Takes a layer's trained mixer, before anyone asks for hidden states after it. */
  learned(layer: number, parameters: Weights): void {
    this.#learned.set(layer, parameters);
  }

  /** The identity of the hidden states before a layer, whether or not they exist. */
  identity(layer: number): string {
    if (layer === 0) return embeddingIdentity(this.#options);
    const { inputs, student } = this.#options;
    const hash = createHash('sha256').update(this.identity(layer - 1));
    if (inputs === 'original') return hash.update(`${layer}`).digest('hex');
    hash.update(JSON.stringify(student.model.mixers[layer - 1]));
    return hashOfTensors(hash, this.#learned.get(layer - 1) ?? new Map());
  }

  /** The file of the hidden states before a layer, computed if need be. @throws LinnetError like `embedRows` */
  async before(layer: number): Promise<string> {
    const path = join(this.#folder.path, `hidden-${layer}.safetensors`);
    const identity = this.identity(layer);
    if (this.#whole.get(layer) === identity) return path;
    if (!(await this.#isWhole(layer, path, identity))) {
      await makeFolder(this.#folder.path);
      const sha256 = await this.#write(layer, { path, identity });
      const { states } = await this.#progress();
      const kept = this.#options.keepAll === true ? states.filter((other) => other.layer !== layer) : [];
      await this.#folder.write(progressFile, {
        format: 'linnet-transfer',
        version: 1,
        states: [...kept, { layer, identity, sha256 }],
      });
    }
    this.#whole.set(layer, identity);
    await this.#removeUnrecorded();
    return path;
  }

  async #removeUnrecorded(): Promise<void> {
    const { states } = await this.#progress();
    for (const name of await readdir(this.#folder.path)) {
      const layer = Number(/^hidden-(\d+)\.safetensors$/.exec(name)?.[1]);
      if (Number.isNaN(layer) || states.some((state) => state.layer === layer)) continue;
      this.#whole.delete(layer);
      await remove(join(this.#folder.path, name));
    }
  }

  async #write(layer: number, target: { readonly path: string; readonly identity: string }): Promise<string> {
    if (layer === 0) return await embedRows(this.#options.teacher, this.#options, target.path, this.#options);
    await using from = await openHiddenFile(await this.before(layer - 1));
    return await passLayer(this.#passed(layer - 1), layer - 1, from, target, this.#options);
  }

  /** The model whose layer computes the next hidden states. */
  #passed(layer: number): Weighted {
    const { teacher, student, inputs } = this.#options;
    if (inputs === 'original') return teacher;
    const { model } = student;
    const exchanged = exchangedParameters(teacher.model, model, teacher.parameters);
    return { model, parameters: new Map([...exchanged, ...(this.#learned.get(layer) ?? [])]) };
  }

  async #progress(): Promise<TransferProgress> {
    return (await this.#folder.read(progressFile)) ?? { format: 'linnet-transfer', version: 1, states: [] };
  }

  /** Whether a file is recorded and has the recorded hash. */
  async #isWhole(layer: number, path: string, identity: string): Promise<boolean> {
    const { states } = await this.#progress();
    const recorded = states.find((state) => state.layer === layer && state.identity === identity);
    if (recorded === undefined) return false;
    try {
      await using file = await openHiddenFile(path);
      if (file.identity !== identity || (await file.hash()) !== recorded.sha256) return false;
    } catch (error) {
      if (error instanceof LinnetError) return false;
      throw error;
    }
    return true;
  }
}
