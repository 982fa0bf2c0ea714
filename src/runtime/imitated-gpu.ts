/** Whether the processor emulates the GPU. */
import { existsSync } from 'node:fs';

/** GPU driver files; a machine with a GPU has at least one. */
const driverFiles = ['/dev/dri', '/dev/dxg', '/dev/nvidia0'];

/** Whether this is a Linux machine without a GPU, on which the processor emulates `webgpu`. */
export function imitatesGpu(files = driverFiles): boolean {
  return process.platform === 'linux' && !files.some((path) => existsSync(path));
}
