/** Which ways of computing the step graphs of a target have. */
import type { Device } from '../../graph/onnx/model.ts';

/** Ways of computing that some targets, and exports of earlier versions, do without. */
export interface StepForms {
  /** Whether rows are opened, in mixers whose form can. */
  readonly opens: boolean;
  /** Whether rows are replayed by the runtime's operators for recurrences, in mixers whose form can. */
  readonly replays: boolean;
}

/**
 * In half precision, open rows would gain nothing; the runtime has recurrences for WebGPU for few widths of heads, and those for CUDA
 * are not known to read position by position.
 */
const formsByDevice: Readonly<Record<Device, StepForms>> = {
  cpu: { opens: true, replays: true },
  cuda: { opens: true, replays: false },
  wasm: { opens: true, replays: true },
  webgpu: { opens: false, replays: false },
};

/** @param device default `cpu` */
export function stepFormsOf(device: Device = 'cpu'): StepForms {
  return formsByDevice[device];
}
