/** Whether the processor imitates the GPU. */
import { existsSync } from 'node:fs';

/** Files of the drivers of GPUs, of which one is there where there is a GPU. */
const driverFiles = ['/dev/dri', '/dev/dxg', '/dev/nvidia0'];

/** Whether this is a Linux machine without a GPU: `webgpu` is imitated by the processor there. */
export function imitatesGpu(files = driverFiles): boolean {
  return process.platform === 'linux' && !files.some((path) => existsSync(path));
}
