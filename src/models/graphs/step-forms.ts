/** The ways of computing that a target's step graphs use. */
import type { Device } from '../../graph/onnx/model.ts';

/** Ways of computing that some targets, and exports of earlier versions, lack. */
export interface StepForms {
  /** Whether mixers whose form can open rows do. */
  readonly opens: boolean;
  /** Whether mixers whose form can replay rows with the runtime's recurrence operators do. */
  readonly replays: boolean;
  /**
   * Whether products with parameters have their own row count: if they need an even number (`StepEngine`), mixers skip the
   * spare row.
   */
  readonly productRows: boolean;
  /** Whether windows' memories and attention to an encoded text have the same bits in company. */
  readonly ordered: boolean;
  /**
   * Whether nodes read groups that closed within their tree row by row. If not, a step takes a tree that crosses a fold in
   * parts (`runAcrossFolds`), without any `TreeRule`: most trees end before, and a small model's tokens take a fifth less
   * time.
   */
  readonly crossesFolds: boolean;
  /** Whether growing caches keep values in columns of `cacheColumns`, which products read twice as fast. */
  readonly columns: boolean;
}

/**
 * In half precision, open rows would gain nothing; the runtime's WebGPU recurrences support few head widths, and its CUDA
 * recurrences are not known to read position by position.
 */
const formsByDevice: Readonly<Record<Device, Pick<StepForms, 'opens' | 'replays'>>> = {
  cpu: { opens: true, replays: true },
  cuda: { opens: true, replays: false },
  wasm: { opens: true, replays: true },
  webgpu: { opens: false, replays: false },
};

/**
 * @param device default `cpu`
 * @param inPairs whether kernels may process product rows in pairs. Default: no
 */
export function stepFormsOf(device: Device = 'cpu', inPairs = false): StepForms {
  const { opens, replays } = formsByDevice[device];
  return { opens, replays, productRows: opens && inPairs, ordered: true, crossesFolds: !opens, columns: opens };
}
