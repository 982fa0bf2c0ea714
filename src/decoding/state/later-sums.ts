/** S after a step, which layers that replay rows compute anyway: taken where folding would give the same. */
import { dataOf, type Tensor } from '../../graph/tensor.ts';
import type { ModelLayout } from '../../models/graphs/model-layout.ts';
import { laterSumsName } from '../../models/graphs/step-graph.ts';
import type { Program } from '../../runtime/program.ts';
import type { NewRows } from './commit.ts';
import type { StepRequest } from './step-feeds.ts';

/** S after the steps of an engine. */
export class LaterSums {
  readonly #layout: ModelLayout;
  /** Outputs of all layers that fold, by layer; empty where one of them folds otherwise. */
  readonly names: ReadonlyMap<number, string>;

  constructor(layout: ModelLayout, programs: readonly Program[]) {
    const names = layout.folds.flatMap(({ layers }) => layers.map((layer) => [layer, laterSumsName(layer)] as const));
    this.#layout = layout;
    this.names = new Map(names.every(([, name]) => programs.every(({ outputs }) => outputs.has(name))) ? names : []);
  }

  /** Outputs of a step that are taken: of a single chain that ends with a group in all layers that fold, else none. */
  outputsOf([{ state, tree }, ...others]: readonly StepRequest[]): readonly string[] {
    const end = state.length + tree.size;
    const isChain = others.length === 0 && tree.height === tree.size - 1;
    const ends = isChain && this.#layout.folds.every(({ slots }) => end % slots.horizon.group === 0);
    return ends ? [...this.names.values()] : [];
  }

  /** Their numbers, from the results of a step of `nodes`; undefined if it has none. */
  of(results: Readonly<Record<string, Tensor>>, nodes: number): NewRows['later'] {
    const sums = new Map<number, Float32Array>();
    for (const [layer, name] of this.names) {
      if (results[name] === undefined) return undefined;
      const { heads, sums: [rows, columns] = [0, 0] } = this.#layout.layers[layer];
      sums.set(layer, dataOf(results[name], 'float32', heads * rows * columns));
    }
    return { nodes, sums };
  }
}
