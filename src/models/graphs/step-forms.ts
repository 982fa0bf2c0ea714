/** Which ways of computing the step graphs of a target have. */
import type { Device } from '../../graph/onnx/model.ts';

/** Ways of computing that some targets, and exports of earlier versions, do without. */
export interface StepForms {
  /** Whether rows are opened, in mixers whose form can. */
  readonly opens: boolean;
  /** Whether rows are replayed by the runtime's operators for recurrences, in mixers whose form can. */
  readonly replays: boolean;
  /**
   * Whether products with parameters have a count of rows of their own: where those need an even number (`StepEngine`), the layers' mixers
   * do not compute the spare row.
   */
  readonly productRows: boolean;
  /** Whether the memories of windows and attention to an encoded text have the same bits beside others. */
  readonly ordered: boolean;
  /**
   * Whether nodes read groups that closed within their tree row by row. Without it a step takes a tree that crosses a fold in parts
   * (`runAcrossFolds`), which cannot follow a `TreeRule`: most trees end before, and a token of a small model takes a fifth less.
   */
  readonly crossesFolds: boolean;
  /** Whether caches that grow keep values in columns of `cacheColumns`, which products read at twice the speed. */
  readonly columns: boolean;
}

/**
 * In half precision, open rows would gain nothing; the runtime has recurrences for WebGPU for few widths of heads, and those for CUDA
 * are not known to read position by position.
 */
const formsByDevice: Readonly<Record<Device, Pick<StepForms, 'opens' | 'replays'>>> = {
  cpu: { opens: true, replays: true },
  cuda: { opens: true, replays: false },
  wasm: { opens: true, replays: true },
  webgpu: { opens: false, replays: false },
};

/**
 * @param device default `cpu`
 * @param inPairs whether kernels may take the rows of products in pairs. Default: no
 */
export function stepFormsOf(device: Device = 'cpu', inPairs = false): StepForms {
  const { opens, replays } = formsByDevice[device];
  return { opens, replays, productRows: opens && inPairs, ordered: true, crossesFolds: !opens, columns: opens };
}
