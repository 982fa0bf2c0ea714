/** S after a step, which layers that replay rows compute anyway: used if folding would give the same. */
import { endingSteps } from '../../attention/masks.ts';
import { dataOf, type Tensor } from '../../graph/tensor.ts';
import type { ModelLayout, SlotLayout } from '../../models/graphs/model-layout.ts';
import { finalRowsName, laterSumsName } from '../../models/graphs/step-graph.ts';
import type { Program } from '../../runtime/program.ts';
import { release } from '../../runtime/release.ts';
import type { NewRows } from './commit.ts';
import type { StepRequest } from './step-feeds.ts';

/** S after an engine's steps. */
export class LaterSums {
  readonly #layout: ModelLayout;
  /** Outputs of all layers that fold, by layer; empty if any of them folds otherwise. */
  readonly names: ReadonlyMap<number, string>;
  /** Most rows that these layers' states keep. */
  readonly rows: number;
  /** S of several texts side by side, from the last step; each state copies its part. */
  #parts: Float32Array[] = [];

  constructor(layout: ModelLayout, programs: readonly Program[]) {
    const names = layout.folds.flatMap(({ layers }) => layers.map((layer) => [layer, laterSumsName(layer)] as const));
    this.#layout = layout;
    this.rows = Math.max(...layout.folds.map(({ slots }) => slots.ring ?? 0));
    this.names = new Map(names.every(([, name]) => programs.every(({ outputs }) => outputs.has(name))) ? names : []);
  }

  /** A step's outputs to take: where a text ends a group, or half of one, in all layers that fold. Frees the previous step's S. */
  outputsOf(requests: readonly StepRequest[]): readonly string[] {
    release(this.#parts);
    this.#parts = [];
    const ending = this.#layout.folds.map(({ slots }) => endingRequests(requests, slots));
    const taken = requests.some((request) => ending.every((each) => each.includes(request)));
    return taken ? [...this.names.values()] : [];
  }

  /** How many of a single text's last rows states keep, 0 for all. */
  finalRows([{ tree, isText }, ...others]: readonly StepRequest[]): number {
    return isText === true && others.length === 0 && this.rows < tree.size ? this.rows : 0;
  }

  /** Their numbers for each request, from a step's results; undefined for a request that ends no group or half in all layers. */
  of(results: Readonly<Record<string, Tensor>>, requests: readonly StepRequest[]): NewRows['later'][] {
    const all = new Map(requests.map((request) => [request, new Map<number, Float32Array>()]));
    for (const [layer, name] of this.names) {
      const result = results[name];
      if (result === undefined) return [];
      const { heads, slots, sums: [rows, columns] = [0, 0] } = this.#layout.layers[layer];
      const size = heads * rows * columns;
      const ending = endingRequests(requests, slots);
      const numbers = dataOf(result, 'float32', Math.max(ending.length, result.shape[0]) * size);
      if (numbers.length > size) this.#parts.push(numbers);
      for (const [place, request] of ending.entries()) {
        all.get(request)?.set(layer, numbers.subarray(place * size, (place + 1) * size));
      }
    }
    return Array.from(all, ([{ tree }, sums]) =>
      sums.size === this.names.size ? { nodes: tree.size, sums } : undefined,
    );
  }
}

function endingRequests(requests: readonly StepRequest[], { horizon }: SlotLayout): readonly StepRequest[] {
  const steps = requests.map((request) => ({ request, tree: request.tree, committed: request.state.length }));
  return endingSteps(steps, horizon.group).map(({ request }) => request);
}

/** A step's outputs, with only the last nodes' rows if its graph returns those. */
export function finalOutputs({ outputs }: Program, names: readonly string[]): readonly string[] {
  return names.map((name) => (outputs.has(finalRowsName(name)) ? finalRowsName(name) : name));
}
